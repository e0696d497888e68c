package redis

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
)

// kept is how long the tests' messages are kept.
var kept = hub.Keep{Messages: 100_000, Age: time.Hour}

// A machine is a broker and what it has delivered.
type machine struct {
	*broker
	t testing.TB

	mu       sync.Mutex // guards everything below
	got      map[string][]*hub.Message
	busy     map[string]bool // apps that Deliver is called for
	interest map[string]int  // by app and channel
	hold     chan struct{}   // if not nil, deliveries wait until it is closed
	fills    []filled
	lost     []string // channels, with offsets
	moved    []string // epochs
	stands   map[string]hub.Position
}

// A filled is a call of Fill.
type filled struct {
	channel string
	at      hub.Position
	floor   uint64
	past    []hub.Filled
}

// join opens a broker on the server.
func (s *redisServer) join(prefix string) *machine { return join(s.t, s.url(), prefix) }

func join(t testing.TB, url, prefix string) *machine {
	t.Helper()
	return joinServer(t, Server{URL: url, Prefix: prefix})
}

func joinServer(t testing.TB, server Server) *machine {
	t.Helper()
	return joinLogged(t, server, zaptest.NewLogger(t, zaptest.Level(zapLevel)))
}

func joinLogged(t testing.TB, server Server, log *zap.Logger) *machine {
	t.Helper()
	module := Broker{server}
	if err := module.provision("broker"); err != nil {
		t.Fatal(err)
	}
	opened, err := module.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{broker: opened.(*broker), t: t, got: make(map[string][]*hub.Message), busy: make(map[string]bool), interest: make(map[string]int), stands: make(map[string]hub.Position)}
	if err := m.Start(m); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// Deliver implements hub.Handler.
func (m *machine) Deliver(message *hub.Message) hub.Delivery {
	m.mu.Lock()
	hold := m.hold
	if m.busy[message.App] {
		m.t.Error("two deliveries at a time for one app")
	}
	m.busy[message.App] = true
	m.mu.Unlock()
	if hold != nil {
		<-hold
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.busy[message.App] = false
	m.got[message.App] = append(m.got[message.App], message)
	return hub.Delivery{}
}

// Fill implements hub.Handler.
func (m *machine) Fill(_, channel string, at hub.Position, floor uint64, past []hub.Filled) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fills = append(m.fills, filled{channel, at, floor, past})
}

// Stand implements hub.Handler.
func (m *machine) Stand(app string, at hub.Position) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stands[app] = at
}

// Lost implements hub.Handler.
func (m *machine) Lost(_, channel string, at hub.Position) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lost = append(m.lost, fmt.Sprint(channel, " ", at.Offset))
}

// Moved implements hub.Handler.
func (m *machine) Moved(_, epoch string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.moved = append(m.moved, epoch)
}

// Subscribers implements hub.Handler.
func (m *machine) Subscribers(app, channel string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.interest[app+" "+channel]
}

// subscribe tells the broker of interest.
func (m *machine) subscribe(app string, channels ...string) {
	m.t.Helper()
	for _, channel := range channels {
		if err := m.Interest(m.t.Context(), app, channel, true); err != nil {
			m.t.Fatal(err)
		}
		m.mu.Lock()
		m.interest[app+" "+channel] = 1
		m.mu.Unlock()
	}
}

func (m *machine) leave(app, channel string) {
	m.t.Helper()
	if err := m.Interest(m.t.Context(), app, channel, false); err != nil {
		m.t.Fatal(err)
	}
}

// delivered returns the messages of an app that were delivered.
func (m *machine) delivered(app string) []*hub.Message {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.got[app])
}

// message returns a message that is kept.
func message(app, channel, event string) *hub.Message {
	return &hub.Message{App: app, Channel: channel, Event: event, Data: []byte(`{"a":1}`), Keep: kept}
}

// publish publishes messages, which must be accepted.
func (m *machine) publish(all ...*hub.Message) {
	m.t.Helper()
	if err := m.Publish(m.t.Context(), all); err != nil {
		m.t.Fatal(err)
	}
}

// A ledger is what was published and accepted.
type ledger struct {
	mu  sync.Mutex // guards all
	all map[string]string
}

func (l *ledger) add(all ...*hub.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = make(map[string]string)
	}
	for _, m := range all {
		l.all[m.ID()] = m.Channel + " " + m.Event
	}
}

// load publishes to the channels in turns from several goroutines of each machine,
// until the returned function is called, and notes what was accepted.
func (l *ledger) load(machines []*machine, app string, publishers int, channels ...string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var publishing sync.WaitGroup
	for n, m := range machines {
		for p := range publishers {
			publishing.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					sent := message(app, channels[(i+p)%len(channels)], fmt.Sprint(n, ".", p, ".", i))
					if err := m.Publish(context.Background(), []*hub.Message{sent}); err == nil {
						l.add(sent)
					}
					_ = sleep(ctx, time.Millisecond)
				}
			})
		}
	}
	return func() {
		cancel()
		publishing.Wait()
	}
}

// expect waits until the machine has everything in the ledger, of these channels, and
// fails the test if something is there twice or out of order. After a lost connection,
// there can be more: messages that Publish reported as failed.
func (l *ledger) expect(m *machine, app string, channels ...string) {
	m.t.Helper()
	want := l.of(channels...)
	until(m.t, fmt.Sprintf("all of %d messages, of which %d are there", len(want), len(m.delivered(app))), func() bool {
		return m.missing(app, want) == 0
	})
	var last hub.Position
	for _, got := range m.delivered(app) {
		if got.Epoch == last.Epoch && got.Offset <= last.Offset {
			m.t.Fatalf("%d after %d", got.Offset, last.Offset)
		}
		last = got.Position
		if !slices.Contains(channels, got.Channel) {
			m.t.Fatalf("got a message of %q", got.Channel)
		}
	}
}

// of returns the messages of these channels, by ID.
func (l *ledger) of(channels ...string) map[string]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make(map[string]string)
	for id, text := range l.all {
		if channel, _, _ := strings.Cut(text, " "); slices.Contains(channels, channel) {
			all[id] = text
		}
	}
	return all
}

// missing returns how many of the wanted messages, by ID, were not delivered.
func (m *machine) missing(app string, want map[string]string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	left := len(want)
	for _, got := range m.got[app] {
		if text, ok := want[got.Position.ID()]; ok && text == got.Channel+" "+got.Event {
			left--
		}
	}
	return left
}
