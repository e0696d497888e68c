package redis

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"go.uber.org/zap/zaptest"
)

// An inbox is a subscriber that keeps the channels and data of what it gets.
type inbox struct {
	mu  sync.Mutex // guards got
	got []string
}

func (*inbox) ID() string { return "an inbox" }

func (b *inbox) Queue(payload string) hub.Flusher {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got = append(b.got, payload)
	return nil
}

func (b *inbox) all() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.got)
}

// textCodec makes payloads of a message's channel and data.
var textCodec = hub.Codec[string]{
	Encode:  func(m *hub.Message) string { return m.Channel + " " + string(m.Data) },
	Text:    func(s string) []byte { return []byte(s) },
	Payload: func(text []byte, _ string) (string, error) { return string(text), nil },
}

// hub returns a hub whose broker is on the server.
func (s *redisServer) hub() *hub.Hub[string] {
	s.t.Helper()
	module := Broker{Server{URL: s.url()}}
	if err := module.provision("broker"); err != nil {
		s.t.Fatal(err)
	}
	b, err := module.Open(zaptest.NewLogger(s.t, zaptest.Level(zapLevel)))
	if err != nil {
		s.t.Fatal(err)
	}
	h, err := hub.New(b, textCodec)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := h.Close(); err != nil {
			s.t.Error(err)
		}
	})
	return h
}

func TestSubscribersOnAllMachinesGetTheSameOrder(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	hubs := []*hub.Hub[string]{s.hub(), s.hub(), s.hub()}
	boxes := make([]*inbox, len(hubs))
	for i, h := range hubs {
		boxes[i] = new(inbox)
		m := h.Join("app", boxes[i])
		for _, channel := range []string{"a", "b"} {
			if err := m.Subscribe(t.Context(), channel, 10, hub.From{}, func(hub.Standing[string]) {}); err != nil {
				t.Fatal(err)
			}
		}
	}
	const each = 300
	var publishing sync.WaitGroup
	for n, h := range hubs {
		publishing.Go(func() {
			for i := range each {
				m := *message("app", string(rune('a'+i%2)), "e")
				m.Data = fmt.Appendf(nil, "%d.%d", n, i)
				if _, err := h.Publish(t.Context(), m); err != nil {
					t.Error(err)
				}
				if n == 0 && i%100 == 50 {
					if err := s.do("CLIENT", "KILL", "TYPE", "pubsub").Error(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	publishing.Wait()
	for _, box := range boxes {
		until(t, "all messages", func() bool { return len(box.all()) >= each*len(hubs) })
		if got, want := box.all(), boxes[0].all(); !slices.Equal(got, want) {
			t.Errorf("got %d messages in another order than the %d of the first", len(got), len(want))
		}
	}
}
