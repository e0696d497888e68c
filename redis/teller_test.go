package redis

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/webhook"
	"go.uber.org/zap/zaptest"
)

// hookSecret signs what is sent.
var hookSecret = []byte("a secret of 32 bytes for testing")

// A gotEvent is an event as a receiver decodes it.
type gotEvent struct {
	Type    string `json:"type"`
	Seq     uint64 `json:"seq"`
	Channel string `json:"channel"`
	User    string `json:"user"`
	Event   string `json:"event"`
	Count   uint64 `json:"count"`
}

// A receiver is a real HTTP server that verifies what it gets, and accepts it unless it
// is down.
type receiver struct {
	*httptest.Server
	t    *testing.T
	down atomic.Bool

	mu       sync.Mutex // guards everything below
	tries    int
	bodies   map[string]string // all, by webhook-id
	accepted []string          // webhook-ids
	events   []gotEvent        // of accepted batches, those of a repeated one once
	repeated int               // accepted batches that had been accepted before
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{t: t, bodies: make(map[string]string)}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	id := req.Header.Get("webhook-id")
	mac := hmac.New(sha256.New, hookSecret)
	_, _ = io.WriteString(mac, id+"."+req.Header.Get("webhook-timestamp")+"."+string(body))
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); req.Header.Get("webhook-signature") != want {
		r.t.Errorf("a wrong signature of %s", body)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tries++
	if known, ok := r.bodies[id]; ok && known != string(body) {
		r.t.Errorf("%s with another body: %s, before: %s", id, body, known)
	}
	r.bodies[id] = string(body)
	if r.down.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusNoContent)
	if slices.Contains(r.accepted, id) {
		r.repeated++
		if r.accepted[len(r.accepted)-1] != id {
			r.t.Errorf("%s again, after another batch", id)
		}
		return
	}
	r.accepted = append(r.accepted, id)
	var batch struct {
		Events []gotEvent `json:"events"`
	}
	if err := json.Unmarshal(body, &batch); err != nil {
		r.t.Errorf("%v in %s", err, body)
	}
	r.events = append(r.events, batch.Events...)
}

func (r *receiver) got() []gotEvent {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

func (r *receiver) attempts() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tries
}

// gapless fails the test unless the numbers rise by one, from 1.
func (r *receiver) gapless() {
	r.t.Helper()
	for i, e := range r.got() {
		if e.Seq != uint64(i)+1 {
			r.t.Fatalf("event %d has the number %d: %+v", i, e.Seq, e)
		}
	}
}

// A teller is a machine that sends webhooks.
type teller struct {
	*node
	*webhook.Manager
}

// hookLease is long enough for a busy machine to renew it.
const hookLease = 3 * time.Second

var hookTiming = webhook.Timing{
	Gather: time.Millisecond, Batch: 50 * time.Millisecond, Answer: 30 * time.Second,
	FirstRetry: 10 * time.Millisecond, LastRetry: 50 * time.Millisecond,
}

func newTeller(t *testing.T, url, name string, hooks ...webhook.Hook) *teller {
	t.Helper()
	n := newNode(t, url, "", name, shortLease)
	return n.tell(t, n.broker, hooks...)
}

// tell makes the machine one that sends webhooks, with its broker as shared.
func (n *node) tell(t *testing.T, shared webhook.Shared, hooks ...webhook.Hook) *teller {
	t.Helper()
	m := &teller{node: n}
	var err error
	m.Manager, err = webhook.Open(webhook.Options{
		Logger: zaptest.NewLogger(t, zaptest.Level(zapLevel)), AllowPrivate: true, Shared: shared, Machine: n.id,
		Machines: func() (ids []string) {
			for _, other := range n.Machines() {
				ids = append(ids, other.ID)
			}
			return ids
		},
		Debounce: time.Second, Lease: hookLease, Timing: hookTiming,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.quit)
	m.use(hooks...)
	return m
}

// quit ends the machine properly.
func (m *teller) quit() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := m.Manager.Close(ctx); err != nil {
		m.t.Error(err)
	}
}

func (m *teller) use(hooks ...webhook.Hook) {
	m.t.Helper()
	if err := m.Set(hooks); err != nil {
		m.t.Fatal(err)
	}
}

func (m *teller) sends() bool { return m.Sender("shop") == m.id }

// say tells of client events: machine and numbers.
func (m *teller) say(first, n int) {
	for i := first; i < first+n; i++ {
		m.Emit(webhook.Event{Type: webhook.ClientEvent, App: "shop", Channel: "a", Event: fmt.Sprint(m.id, " ", i), Data: json.RawMessage(`{"<":1}`)})
	}
}

// hookTo returns a new hook of the app shop.
func hookTo(url string, events ...string) webhook.Hook {
	return webhook.Hook{ID: "hook_1", App: "shop", URL: url, Enabled: true, Secrets: [][]byte{hookSecret}, Events: events, Created: time.Now()}
}

// tellers returns three machines with a hook, of which one sends.
func tellers(t *testing.T, url string, hooks ...webhook.Hook) (all []*teller, sender *teller) {
	t.Helper()
	for _, name := range []string{"a", "b", "c"} {
		all = append(all, newTeller(t, url, name, hooks...))
	}
	return all, senderOf(t, all...)
}

// senderOf waits until all machines agree which of them sends.
func senderOf(t *testing.T, all ...*teller) (sender *teller) {
	t.Helper()
	until(t, "the machines agree who sends", func() bool {
		sender = nil
		for _, m := range all {
			if m.sends() {
				sender = m
			}
		}
		return sender != nil && !slices.ContainsFunc(all, func(m *teller) bool { return m.Sender("shop") != sender.id })
	})
	return sender
}

func others(all []*teller, but *teller) []*teller {
	return slices.DeleteFunc(slices.Clone(all), func(m *teller) bool { return m == but })
}

// complete waits until the receiver has n events of each machine, in order.
func (r *receiver) complete(n int, all ...*teller) {
	r.t.Helper()
	until(r.t, "all events", func() bool { return len(r.got()) >= n*len(all) })
	said := make(map[string]int)
	for _, e := range r.got() {
		if e.Type != webhook.ClientEvent {
			continue
		}
		machine, number, _ := strings.Cut(e.Event, " ")
		if number != fmt.Sprint(said[machine]) {
			r.t.Fatalf("%s, want %d", e.Event, said[machine])
		}
		said[machine]++
	}
	for _, m := range all {
		if said[m.id] != n {
			r.t.Errorf("%d events of %s, want %d", said[m.id], m.id, n)
		}
	}
}

// pausing is a Shared whose calls wait while the machine is suspended, and then are made
// all the same.
type pausing struct {
	webhook.Shared
	arm  atomic.Pointer[chan struct{}] // what the next SaveRecord makes hold
	hold atomic.Pointer[chan struct{}]
}

func (p *pausing) wait() {
	if hold := p.hold.Load(); hold != nil {
		<-*hold
	}
}

func (p *pausing) Lead(ctx context.Context, app, owner string, lease time.Duration, known webhook.Known) (webhook.Leader, error) {
	p.wait()
	return p.Shared.Lead(context.WithoutCancel(ctx), app, owner, lease, known)
}

func (p *pausing) SaveRecord(ctx context.Context, app, owner, epoch, hook, record string) error {
	if arm := p.arm.Swap(nil); arm != nil {
		p.hold.Store(arm)
	}
	p.wait()
	return p.Shared.SaveRecord(context.WithoutCancel(ctx), app, owner, epoch, hook, record)
}

// unanswered is a Shared that does not get the answer to its first AppendFacts until held
// is closed.
type unanswered struct {
	webhook.Shared
	once sync.Once
	made chan struct{} // closed once the call was made
	held chan struct{}
}

func (u *unanswered) AppendFacts(ctx context.Context, app, machine string, number uint64, facts []webhook.Fact) error {
	err := u.Shared.AppendFacts(ctx, app, machine, number, facts)
	u.once.Do(func() {
		close(u.made)
		<-u.held
		err = cmp.Or(err, context.DeadlineExceeded)
	})
	return err
}

// added returns how many facts there were.
func (s *redisServer) added(t *testing.T) int {
	t.Helper()
	info, err := s.do("XINFO", "STREAM", factsKey(baseName("rt", "shop"))).AsMap()
	if err != nil {
		return 0
	}
	added := info["entries-added"]
	n, err := added.AsInt64()
	if err != nil {
		t.Fatal(err)
	}
	return int(n)
}
