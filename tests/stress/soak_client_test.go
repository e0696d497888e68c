package stress

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/tests/client"
)

// patience is how long a subscriber of the soak waits for what must come.
const patience = 30 * time.Second

// A member is a client of the soak with the accounts of its channels.
type member struct {
	soak   *soak
	who    string
	pause  time.Duration // before it takes each event
	client *client.Client

	told atomic.Bool // the gateway has sent a Socket.IO DISCONNECT

	mu   sync.Mutex // guards subs
	subs map[string]*subscription
}

// members numbers them, for messages.
var members atomic.Int64

// enter connects a client, again where Caddy reset the connection in the
// instant of a reload.
func (s *soak) enter(a app, transport client.Transport, pause time.Duration) (*member, error) {
	m := &member{
		soak: s, pause: pause, subs: make(map[string]*subscription),
		who: fmt.Sprintf("client %d (%s)", members.Add(1), transport),
	}
	for {
		var err error
		m.client, err = client.Dial(client.Config{
			Addr: s.Addr, Transport: transport, AppID: a.ID, Key: a.SubscribeKey, OnPacket: m.take,
			OnReset: func() { s.resets.Add(1) },
		})
		switch {
		case err == nil:
			s.connects.Add(1)
			return m, nil
		case client.IsReset(err):
			s.resets.Add(1)
		default:
			return nil, err
		}
	}
}

// take is called with each packet.
func (m *member) take(packet string) {
	if packet == "1" {
		m.told.Store(true)
		return
	}
	event, rest, ok := cutName(packet)
	if !ok {
		m.soak.tally.wrong("%s got %.100q", m.who, packet)
		return
	}
	if event != "e" {
		var p struct{ Channel string }
		if err := json.Unmarshal([]byte(strings.TrimSuffix(rest, "]")), &p); err != nil {
			m.soak.tally.wrong("%s got %.100q", m.who, packet)
			return
		}
		sub := m.sub(p.Channel)
		switch {
		case event == "subscribed" && sub != nil:
			sub.join()
		case event == "unsubscribed" && sub != nil:
			m.drop(p.Channel)
			close(sub.left)
		default:
			m.soak.tally.wrong("%s got %.200q", m.who, packet)
		}
		return
	}
	if m.pause > 0 {
		time.Sleep(m.pause) // it is slow: that is the test
	}
	channel, n, err := eventOf(rest)
	sub := m.sub(channel)
	if err != nil || sub == nil {
		m.soak.tally.wrong("%s, who is not there, got %.100q", m.who, packet)
		return
	}
	sub.take(n)
}

// eventOf reads an event's data, ["channel",17,"padding"].
func eventOf(data string) (channel string, n int64, err error) {
	channel, rest, _ := strings.Cut(strings.TrimPrefix(data, `["`), `",`)
	number, _, _ := strings.Cut(rest, ",")
	n, err = strconv.ParseInt(number, 10, 64)
	return channel, n, err
}

// cutName takes `2["name",rest]` apart.
func cutName(packet string) (name, rest string, ok bool) {
	text, ok := strings.CutPrefix(packet, `2["`)
	if !ok {
		return "", "", false
	}
	return strings.Cut(text, `",`)
}

func (m *member) sub(channel string) *subscription {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.subs[channel]
}

func (m *member) drop(channel string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.subs, channel)
}

func (m *member) all() []*subscription {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]*subscription, 0, len(m.subs))
	for _, sub := range m.subs {
		list = append(list, sub)
	}
	return list
}

// subscribe returns when the client is in the channel.
func (m *member) subscribe(l *ledger) error {
	sub := newSubscription(l, &m.soak.tally, m.who)
	m.mu.Lock()
	m.subs[l.name] = sub
	m.mu.Unlock()
	if err := m.client.Subscribe(l.name); err != nil {
		return err
	}
	return m.await(sub.joined, "the answer to subscribe")
}

// unsubscribe returns when the client is out of the channel, and settles.
func (m *member) unsubscribe(l *ledger) error {
	sub := m.sub(l.name)
	sub.caughtUp(m.client.Done(), patience)
	until := l.answered.Load()
	if err := m.client.Write(`42["unsubscribe","` + l.name + `"]`); err != nil {
		return err
	}
	err := m.await(sub.left, "the answer to unsubscribe")
	if err == nil {
		sub.settle(until)
	}
	return err
}

func (m *member) await(done <-chan struct{}, what string) error {
	select {
	case <-done:
		return nil
	case <-m.client.Done():
		return m.client.Err()
	case <-time.After(patience):
		return fmt.Errorf("not within %s: %s", patience, what)
	}
}

// leave ends the client. Unless it is rude, it first waits for all that was
// accepted until now.
func (m *member) leave(way int, rude bool) {
	subs := m.all()
	until := make([]int64, len(subs))
	for i, sub := range subs {
		if !rude {
			until[i] = sub.caughtUp(m.client.Done(), patience)
		}
	}
	if err := m.client.Err(); err != nil {
		m.soak.tally.wrong("%s was disconnected, which nobody asked for: %v", m.who, err)
	}
	_ = leave(m.client, way) // it may be gone before it has said so
	for i, sub := range subs {
		sub.settle(until[i])
	}
}

// expelled waits for the gateway to tell the client to go, and settles.
func (m *member) expelled() error {
	select {
	case <-m.client.Done():
	case <-time.After(patience):
		return fmt.Errorf("%s is still there", m.who)
	}
	if !m.told.Load() {
		return fmt.Errorf("%s was not told: %w", m.who, m.client.Err())
	}
	_ = m.client.Close() // it has ended
	for _, sub := range m.all() {
		sub.settle(0)
	}
	return nil
}
