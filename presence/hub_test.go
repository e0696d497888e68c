package presence_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/presence"
)

// A watcher is a subscriber of channels whose presence it follows.
type watcher struct {
	t  *testing.T
	mu sync.Mutex
	in map[string][]string // the members that it believes in, by channel
}

func (*watcher) ID() string { return "watcher" }

func (w *watcher) Queue(data any) hub.Flusher {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch d := data.(type) {
	case presence.Joined:
		if slices.Contains(w.in[d.Channel], d.ID) {
			w.t.Errorf("%s has joined %s twice", d.ID, d.Channel)
		}
		w.in[d.Channel] = append(w.in[d.Channel], d.ID)
	case presence.Left:
		i := slices.Index(w.in[d.Channel], d.ID)
		if i < 0 {
			w.t.Errorf("%s has left %s without having joined", d.ID, d.Channel)
			return nil
		}
		w.in[d.Channel] = slices.Delete(w.in[d.Channel], i, i+1)
	default:
		w.t.Errorf("got %v", data)
	}
	return nil
}

// Sockets of users join and leave the channels of a hub, all at the same time. At
// each quiet moment, each of them knows who is there, and nobody is in the end.
func TestSubscribersOfAHubKnowWhoIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := hub.New(hub.NewMemory(), hub.Codec[any]{})
		if err != nil {
			t.Fatal(err)
		}
		p := presence.New(func(app, channel string, change func() (string, any, bool)) {
			h.Announce(app, channel, "", func() (any, bool) {
				_, data, ok := change()
				return data, ok
			})
		}, func(string) time.Duration { return 20 * time.Millisecond })
		defer func() {
			p.Close()
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		}()
		channels := []string{"a", "b", "c"}
		for round := range 10 {
			var sockets sync.WaitGroup
			last := round == 9
			var watchers [24]*watcher
			var members [24]*hub.Member[any]
			for i := range watchers {
				w := &watcher{t: t, in: make(map[string][]string)}
				m, user := h.Join("app", w), fmt.Sprint("u", i%8)
				watchers[i], members[i] = w, m
				sockets.Go(func() {
					random := rand.New(rand.NewPCG(uint64(round), uint64(i)))
					for range 300 {
						channel := channels[random.IntN(len(channels))]
						if m.In(channel) {
							m.Unsubscribe(channel)
							p.Leave("app", channel, user)
							continue
						}
						p.Join("app", channel, user, nil)
						err := m.Subscribe(context.Background(), channel, 10, hub.From{}, func(hub.Standing[any]) {
							w.mu.Lock()
							defer w.mu.Unlock()
							w.in[channel] = nil
							for _, member := range p.Snapshot("app", channel).Members {
								w.in[channel] = append(w.in[channel], member.ID)
							}
						})
						if err != nil {
							t.Error(err)
						}
						time.Sleep(time.Duration(random.IntN(30)) * time.Millisecond)
					}
					for _, channel := range m.Channels() {
						if last || random.IntN(2) == 0 {
							m.Unsubscribe(channel)
							p.Leave("app", channel, user)
						}
					}
				})
			}
			sockets.Wait()
			time.Sleep(time.Second)
			synctest.Wait()
			for i, w := range watchers {
				user := fmt.Sprint("u", i%8)
				for _, channel := range members[i].Channels() {
					var want []string
					for _, member := range p.Snapshot("app", channel).Members {
						want = append(want, member.ID)
					}
					if !slices.Contains(want, user) || !slices.Equal(w.in[channel], want) {
						t.Errorf("%s believes in %v in %s, want %v", user, w.in[channel], channel, want)
					}
					p.Leave("app", channel, user)
				}
				members[i].Close()
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if users := p.Users("app"); len(users) != 0 || h.Subscriptions() != 0 {
			t.Errorf("%v and %d subscriptions are left", users, h.Subscriptions())
		}
	})
}
