package stress

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/tests/client"
)

// What the soak does, each on goroutines of its own until the context ends.

var ways = []client.Transport{client.OverWebSocket, client.OverWebSocket, client.OverPolling, client.Upgraded}

// speak publishes a channel's events, at its pace. Caddy resets connections
// that its old listener has not accepted at a reload: what was not seen is sent
// again, with the same number.
func (s *soak) speak(ctx context.Context, l *ledger) {
	publisher := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: rand.IntN(2) == 0}}
	defer publisher.CloseIdleConnections()
	tick := time.NewTicker(l.interval)
	defer tick.Stop()
	for {
		n := l.started.Add(1)
		data := fmt.Sprintf(`[%q,%d,"%s"]`, l.name, n, strings.Repeat("x", rand.IntN(l.size)))
		for {
			_, err := s.publishWith(publisher, *s.app.Load(), l.name, data)
			if _, reset := errors.AsType[*url.Error](err); reset {
				s.resets.Add(1)
				continue
			}
			if err != nil {
				s.tally.wrong("publish %d to %s: %v", n, l.name, err)
			}
			break
		}
		l.answered.Store(n)
		s.publishes.Add(1)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// churn has a client come, listen, change channels, move to a websocket if it
// began on polling, and go, over and over.
func (s *soak) churn(ctx context.Context) {
	for ctx.Err() == nil {
		transport := ways[rand.IntN(len(ways))]
		if err := s.visit(ctx, transport); err != nil {
			s.tally.wrong("a client over %s: %v", transport, err)
		}
	}
}

func (s *soak) visit(ctx context.Context, transport client.Transport) error {
	// Some read slowly, though not more slowly than is published.
	var pause time.Duration
	if rand.IntN(10) == 0 {
		pause = 2 * time.Millisecond
	}
	m, err := s.enter(*s.app.Load(), transport, pause)
	if err != nil {
		return err
	}
	defer func() { m.leave(rand.IntN(5), rand.IntN(3) == 0) }()
	rest(ctx, m, time.Duration(rand.IntN(300))*time.Millisecond)
	order := rand.Perm(len(s.channels))[:1+rand.IntN(5)]
	for _, i := range order {
		if err := m.subscribe(s.channels[i]); err != nil {
			return err
		}
	}
	rest(ctx, m, time.Duration(rand.IntN(4000))*time.Millisecond)
	if transport == client.OverPolling && rand.IntN(2) == 0 {
		if err := m.client.Upgrade(); err != nil {
			return fmt.Errorf("upgrade: %w", err)
		}
		s.upgrades.Add(1)
	}
	for _, i := range order {
		if rand.IntN(2) == 0 {
			continue
		}
		if err := m.unsubscribe(s.channels[i]); err != nil {
			return err
		}
		if err := m.subscribe(s.channels[i]); err != nil {
			return err
		}
	}
	rest(ctx, m, time.Duration(rand.IntN(2000))*time.Millisecond)
	return nil
}

// rest lets time pass for a client.
func rest(ctx context.Context, m *member, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-m.client.Done():
	case <-time.After(d):
	}
}

// every calls a function in turns, and notes its errors.
func (s *soak) every(ctx context.Context, interval time.Duration, what string, do func(ctx context.Context, turn int) error) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for turn := 0; ; turn++ {
		if err := do(ctx, turn); err != nil {
			s.tally.wrong("%s: %v", what, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// reconfigure reloads with other settings; every fourth time with a
// configuration that fails when it starts.
func (s *soak) reconfigure(_ context.Context, turn int) error {
	s.admin.Lock()
	defer s.admin.Unlock()
	settings := s.settings(fmt.Sprintf("max_channels %d", 50+turn%50))
	if turn%4 == 3 {
		if err := s.reload(unstartable(s.whole(settings))); err == nil {
			return errors.New("a configuration that cannot start was accepted")
		}
	} else {
		if err := s.reload(s.whole(settings)); err != nil {
			return err
		}
		s.reloads.Add(1)
	}
	// Caddy's endpoint is a new one, and the old one may still take requests
	// that it will not answer.
	for answered := 0; answered < 5; answered++ {
		s.http.CloseIdleConnections()
		if _, err := s.get("/config/"); err != nil {
			answered = 0
		}
	}
	return nil
}

// revoke makes a key, has clients come with it, revokes it, and sees them go.
func (s *soak) revoke(context.Context, int) error {
	leaked := *s.app.Load()
	var key struct{ ID, Key string }
	if err := s.manage(http.MethodPost, "/realtime/keys/"+leaked.ID, `{"kind":"subscribe"}`, &key); err != nil {
		return err
	}
	leaked.SubscribeKey = key.Key
	var doomed []*member
	for _, transport := range ways {
		m, err := s.enter(leaked, transport, 0)
		if err != nil {
			return err
		}
		doomed = append(doomed, m)
		if err := m.subscribe(s.channels[0]); err != nil {
			return err
		}
	}
	if err := s.manage(http.MethodDelete, "/realtime/keys/"+leaked.ID+"/"+key.ID, "", nil); err != nil {
		return err
	}
	for _, m := range doomed {
		if err := m.expelled(); err != nil {
			return fmt.Errorf("its key is revoked: %w", err)
		}
		s.revoked.Add(1)
	}
	if _, err := s.enter(leaked, client.OverWebSocket, 0); err == nil || !strings.Contains(err.Error(), "key_revoked") {
		return fmt.Errorf("a revoked key: %w", err)
	}
	s.refused.Add(1)
	return nil
}

// rotate changes the publish key, with an overlap.
func (s *soak) rotate(context.Context, int) error {
	a := *s.app.Load()
	var shown struct {
		Keys []struct {
			ID, Kind, Last4  string
			Expires, Revoked *time.Time
		}
	}
	if err := s.manage(http.MethodGet, "/realtime/apps/"+a.ID, "", &shown); err != nil {
		return err
	}
	for _, key := range shown.Keys {
		if key.Kind != "publish" || key.Expires != nil || key.Revoked != nil || !strings.HasSuffix(a.PublishKey, key.Last4) {
			continue
		}
		var next struct{ Key string }
		if err := s.manage(http.MethodPost, "/realtime/keys/"+a.ID+"/"+key.ID+"/rotate", `{"overlap":"10s"}`, &next); err != nil {
			return err
		}
		a.PublishKey = next.Key
		s.app.Store(&a)
		s.rotations.Add(1)
		return nil
	}
	return fmt.Errorf("the publish key is not listed: %+v", shown)
}

// found makes an app, uses it, deletes it, and sees its socket go.
func (s *soak) found(context.Context, int) error {
	var a app
	if err := s.manage(http.MethodPost, "/realtime/apps", `{"name":"passing"}`, &a); err != nil {
		return err
	}
	m, err := s.enter(a, ways[rand.IntN(len(ways))], 0)
	if err != nil {
		return err
	}
	if err := m.subscribe(&ledger{name: "passing"}); err != nil {
		return err
	}
	if err := s.manage(http.MethodDelete, "/realtime/apps/"+a.ID, "", nil); err != nil {
		return err
	}
	if err := m.expelled(); err != nil {
		return fmt.Errorf("its app is deleted: %w", err)
	}
	if _, err := s.publishWith(s.http, a, "passing", "1"); err == nil || !strings.Contains(err.Error(), "unknown_app") {
		if !client.IsReset(err) {
			return fmt.Errorf("publish to a deleted app: %w", err)
		}
		s.resets.Add(1)
	}
	return nil
}

// starve has subscribers of large events stop reading until they are
// cut off; what they get then has to be whole up to where it ends.
func (s *soak) starve(ctx context.Context, _ int) error {
	const n = 3
	before, err := s.count(overflows)
	if err != nil {
		return err
	}
	var sockets []*client.WebSocket
	defer func() {
		for _, socket := range sockets {
			_ = socket.Close() // most have ended
		}
	}()
	for range n {
		conn, err := narrow(ctx, "tcp", s.Addr)
		if err != nil {
			return nil // the end of the round, or a reset of Caddy's
		}
		socket, err := s.stallOn(conn, *s.app.Load(), s.flood.name)
		if client.IsReset(err) {
			s.resets.Add(1)
			return nil
		}
		if err != nil {
			return err
		}
		sockets = append(sockets, socket)
	}
	for {
		now, err := s.count(overflows)
		if err != nil {
			return err
		}
		if now >= before+n {
			break
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(100 * time.Millisecond): // between two looks
		}
	}
	s.cutOff.Add(n)
	for _, socket := range sockets {
		if err := whole(socket); err != nil {
			return err
		}
	}
	return nil
}

// whole reads a socket to its end. There may be no gap in the events.
func whole(socket *client.WebSocket) error {
	last := int64(0)
	for {
		packet, err := socket.Read()
		if err != nil {
			return nil //nolint:nilerr // the end of one that was cut off
		}
		_, rest, ok := cutName(strings.TrimPrefix(packet, "4"))
		if !ok {
			continue // a heartbeat, or the end
		}
		_, n, err := eventOf(rest)
		if err != nil || last > 0 && n != last+1 {
			return fmt.Errorf("event %d after %d, %w", n, last, err)
		}
		last = n
	}
}

// wrongs are publishes that must be refused, with the code of each.
var wrongs = []struct{ body, key, code string }{
	{`{"channel":"c","event":"e"}`, "pk_live_wrong", "invalid_key"},
	{`{"channel":"c","event":"connect"}`, "", "reserved_event"},
	{`{"channel":"a b","event":"e"}`, "", "invalid_channel"},
	{`{"channel":"c","event":"e"`, "", "invalid_json"},
	{`{"channel":"c","event":"e","data":"` + strings.Repeat("x", 1<<20) + `"}`, "", "payload_too_large"},
}

// misuse publishes what is refused.
func (s *soak) misuse(_ context.Context, turn int) error {
	wrong := wrongs[turn%len(wrongs)]
	a := *s.app.Load()
	if wrong.key != "" {
		a.PublishKey = wrong.key
	}
	request, err := a.post("http://"+s.Addr, wrong.body)
	if err != nil {
		return err
	}
	answer, err := s.http.Do(request)
	if err != nil {
		s.resets.Add(1)
		return nil // a reset of Caddy's
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || !bytes.Contains(text, []byte(wrong.code)) {
		return fmt.Errorf("%s: %.200s, %w; want %s", answer.Status, text, err, wrong.code)
	}
	s.refused.Add(1)
	return nil
}

// manage asks the admin API.
func (s *soak) manage(method, path, body string, into any) error {
	s.admin.RLock()
	defer s.admin.RUnlock()
	request, err := http.NewRequest(method, "http://"+s.Admin+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := s.http.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s, %w", method, path, answer.Status, text, err)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

// overflows is the metric of clients whose queue was full.
const overflows = `caddy_realtime_cut_off_total{reason="queue_full"}`

// count reads a metric.
func (s *soak) count(name string) (float64, error) {
	s.admin.RLock()
	defer s.admin.RUnlock()
	page, err := s.get("/metrics")
	if err != nil {
		return 0, err
	}
	_, rest, found := strings.Cut(page, "\n"+name+" ")
	if !found {
		return 0, fmt.Errorf("no metric %s", name)
	}
	number, _, _ := strings.Cut(rest, "\n")
	return strconv.ParseFloat(number, 64)
}
