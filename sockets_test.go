package realtime

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/tests/client"
)

// limited creates an app with a connection limit.
func (s *testSite) limited(limit int) keystore.Created {
	s.t.Helper()
	made := s.newApp()
	if _, err := s.registry.Update(made.App.ID, func(a *keystore.App) error {
		a.MaxConnections = limit
		return nil
	}); err != nil {
		s.t.Fatal(err)
	}
	return made
}

func TestOneClientMoreThanMayConnectAtOnceLeavesExactlyAsManyAsMay(t *testing.T) {
	const limit = 5
	s := newSite(t, nil)
	for range 40 {
		made := s.limited(limit)
		var in atomic.Int32
		var all sync.WaitGroup
		for range limit + 1 {
			all.Go(func() {
				c, err := client.Dial(client.Config{Addr: s.addr, Transport: client.OverWebSocket, AppID: made.App.ID, Key: made.SubscribeKey})
				if err == nil {
					in.Add(1)
					t.Cleanup(func() { _ = c.Close() })
				}
			})
		}
		all.Wait()
		if n := in.Load(); n != limit {
			t.Fatalf("%d clients were let in, not %d", n, limit)
		}
		if n := s.sockets.Count(made.App.ID); n != limit {
			t.Fatalf("%d are counted", n)
		}
	}
}

func TestClientsWithoutAValidKeyTakeNoConnectionOfTheApp(t *testing.T) {
	s := newSite(t, nil)
	made := s.limited(1)
	// Their credentials are still being checked.
	for range 10 {
		s.sockets.add(made.App.ID, &socket{runtime: s.runtime})
	}
	if n := s.sockets.Count(made.App.ID); n != 0 {
		t.Errorf("%d are counted before they are let in", n)
	}
	m := s.dial(client.OverWebSocket, made.App.ID, made.SubscribeKey)
	if n := s.sockets.Count(made.App.ID); n != 1 {
		t.Errorf("%d are counted", n)
	}
	if code, _ := s.connectError("", "", `40{"appId":"`+made.App.ID+`","subscribeKey":"`+made.SubscribeKey+`"}`); code != "too_many_connections" {
		t.Errorf("one more: %q", code)
	}
	_ = m.Close()
	until(t, "its place is free", func() bool { return s.sockets.Count(made.App.ID) == 0 })
	s.dial(client.OverWebSocket, made.App.ID, made.SubscribeKey)
}
