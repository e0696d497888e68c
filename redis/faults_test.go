package redis

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/seed-c079cc48/caddy-realtime/hub"
)

// A machine that reads too slowly is disconnected by Redis.
func TestMachineThatRedisCutsOffCatchesUpOrIsTold(t *testing.T) {
	t.Parallel()
	for name, keep := range map[string]hub.Keep{"all are kept": kept, "few are kept": {Messages: 10, Age: time.Hour}} {
		t.Run(name, func(t *testing.T) {
			s := startRedis(t, "--client-output-buffer-limit", "pubsub", "1mb", "512kb", "1")
			p := s.through(0)
			slow, publisher := join(t, p.url(), ""), s.join("")
			slow.subscribe("app", "a")
			var l ledger
			publish := func(event string) {
				sent := message("app", "a", event)
				sent.Keep, sent.Data = keep, []byte(`"`+strings.Repeat("x", 64<<10)+`"`)
				publisher.publish(sent)
				l.add(sent)
			}
			publish("first")
			l.expect(slow, "app", "a")
			p.suspend()
			const most = 1000 // 64 MB
			n := 0
			for ; n < most && !strings.Contains(s.log.String(), "overcoming of output buffer limits"); n++ {
				publish(fmt.Sprint(n))
			}
			if n == most {
				t.Fatal("redis did not cut the machine off")
			}
			p.resume()
			publish("last")
			if keep == kept {
				l.expect(slow, "app", "a")
				if len(slow.lost) > 0 {
					t.Errorf("told of %v", slow.lost)
				}
				return
			}
			until(t, "the last arrives", func() bool {
				got := slow.delivered("app")
				return got[len(got)-1].Event == "last"
			})
			if got := slow.delivered("app"); len(got) == n+2 {
				t.Error("nothing was lost")
			}
			slow.mu.Lock()
			defer slow.mu.Unlock()
			if len(slow.lost) != 1 || !strings.HasPrefix(slow.lost[0], "a ") {
				t.Errorf("told of %v", slow.lost)
			}
		})
	}
}

// What was missed takes longer over the network than a request to Redis may.
func TestMachineWithASlowNetworkReadsWhatItMissedInSeveralRequests(t *testing.T) {
	t.Parallel()
	const messages, size = 30, 1 << 20
	s := startRedis(t)
	p := s.through(4 * time.Millisecond) // 4 MiB/s
	slow, publisher := join(t, p.url(), ""), s.join("")
	slow.subscribe("app", "a", "b")
	p.suspend()
	var l ledger
	for i := range messages {
		sent := message("app", []string{"a", "b"}[i%2], fmt.Sprint(i))
		sent.Data = []byte(`"` + strings.Repeat("x", size) + `"`)
		publisher.publish(sent)
		l.add(sent)
	}
	s.do("CLIENT", "KILL", "TYPE", "pubsub")
	p.resume()
	l.expect(slow, "app", "a", "b")
	if len(slow.lost) > 0 {
		t.Errorf("told of %v", slow.lost)
	}
}

func TestSlowRedisIsSlowerAndNothingElse(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	p := s.through(100 * time.Millisecond)
	one, _ := newHolder(t, p.url()).open()
	other, _ := newHolder(t, p.url()).open()
	id := create(t, one, "shop").App.ID
	knows(t, other, id, "shop")
	nodes := ofNodes(t, p.url(), time.Minute, "a", "b")
	var l ledger
	for _, n := range nodes {
		n.subscribe("app", "a", "b")
	}
	stop := l.load([]*machine{nodes[0].machine, nodes[1].machine}, "app", 4, "a", "b")
	l.progress(t, 100)
	s.do("CLIENT", "KILL", "TYPE", "pubsub")
	l.progress(t, 100)
	stop()
	for _, n := range nodes {
		l.expect(n.machine, "app", "a", "b")
		if n.told() != "" {
			t.Errorf("for %s, %s are gone", n.id, n.told())
		}
	}
	if _, err := ask(nodes[0], nodes[1], "who", "?"); err != nil {
		t.Error(err)
	}
}

func TestRedisWithoutFreeConnectionsIsNamed(t *testing.T) {
	s := startRedis(t)
	control, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{fmt.Sprintf("127.0.0.1:%d", s.port)}, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	do := func(words ...string) {
		t.Helper()
		if err := control.Do(t.Context(), control.B().Arbitrary(words...).Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	m, publisher := s.join(""), s.join("")
	m.subscribe("app", "a")
	publisher.publish(message("app", "a", "1")) // its connection is there
	do("CONFIG", "SET", "maxclients", "1")
	for name, open := range map[string]func() error{
		"broker":   func() error { return tryBroker(t, s.url()) },
		"keystore": func() error { _, _, err := newHolder(t, s.url()).tryOpen(); return err },
	} {
		err := open()
		wantError(t, err, "maxclients")
		if !unreachable(err) && name == "broker" {
			t.Error("a gateway would not start")
		}
	}
	do("CLIENT", "KILL", "TYPE", "pubsub")
	err = publisher.Publish(t.Context(), []*hub.Message{message("app", "a", "2")})
	do("CONFIG", "SET", "maxclients", "1000")
	if err != nil { // the client publishes over one of several connections, some of which may not be there yet
		wantError(t, err, "maxclients")
		publisher.publish(message("app", "a", "2"))
	}
	var got []*hub.Message
	until(t, "it is there again", func() bool { got = m.delivered("app"); return len(got) == 2 })
}

func TestKeysOfAnotherApplicationAreNamed(t *testing.T) {
	s := startRedis(t)
	base := baseName("rt", "app")
	publish := func(m *machine, t hub.Terms) error {
		_, err := m.Admit(context.Background(), []*hub.Message{message("app", "a", "e")}, t)
		return err
	}
	m := s.join("")
	limited := hub.Terms{Limit: 5, Window: time.Hour, Key: hub.IdempotencyKey{Value: "key"}}
	for key, try := range map[string]func() error{
		base + "m":                           func() error { return publish(m, hub.Terms{}) },
		base + "l":                           func() error { return publish(m, limited) },
		base + "q":                           func() error { return publish(m, limited) },
		base + "i:" + keyName("key"):         func() error { return publish(m, limited) },
		namesOf(&Server{Prefix: "rt"}).index: func() error { _, _, err := newHolder(t, s.url()).tryOpen(); return err },
	} {
		s.do("DEL", key)
		if err := s.do("SADD", key, "x").Error(); err != nil {
			t.Fatal(err)
		}
		err := try()
		wantError(t, err, "another application", "prefix")
		s.do("DEL", key)
	}
	if err := s.do("SET", base+"m", "x").Error(); err != nil {
		t.Fatal(err)
	}
	err := m.Interest(t.Context(), "app", "a", true)
	wantError(t, err, "another application", "prefix")
	s.do("DEL", base+"m")
	m.subscribe("app", "a")
	m.publish(message("app", "a", "e"))
	until(t, "it arrives", func() bool { return len(m.delivered("app")) == 1 })
}

// Redis undoes nothing of a script that fails halfway.
func TestPublishThatFailedHalfwayIsPublishedWhenItIsRepeated(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	m := s.join("")
	m.subscribe("app", "a")
	first := message("app", "a", "first")
	m.publish(first)
	stream := baseName("rt", "app") + "s:" + first.Epoch + ":a"
	s.do("DEL", stream)
	if err := s.do("SET", stream, "x").Error(); err != nil {
		t.Fatal(err)
	}
	publish := func() (hub.Outcome, error) {
		return m.Admit(t.Context(), []*hub.Message{message("app", "a", "repeated")}, hub.Terms{Key: hub.IdempotencyKey{Value: "key"}})
	}
	_, err := publish()
	wantError(t, err, "another application")
	s.do("DEL", stream)
	if o, err := publish(); err != nil || o.Replayed {
		t.Errorf("replayed %t, %v", o.Replayed, err)
	}
	if o, err := publish(); err != nil || !o.Replayed {
		t.Errorf("replayed %t, %v", o.Replayed, err)
	}
	until(t, "it arrives", func() bool { got := m.delivered("app"); return len(got) == 2 && got[1].Event == "repeated" })
}

// Channels of Redis, other than keys, are the same in all its databases.
func TestTwoPrefixesOrDatabasesOnOneRedisShareNothing(t *testing.T) {
	s := startRedis(t)
	var nodes []*node
	var apps []string
	for _, of := range []struct{ prefix, database string }{{"rt", ""}, {"shop", ""}, {"rt", "/1"}, {"rt", "/2"}} {
		prefix, url := of.prefix, s.url()+of.database
		n := newNode(t, url, prefix, "a", time.Minute)
		n.subscribe("app", "a")
		nodes = append(nodes, n)
		h := newHolder(t, url)
		h.Prefix = prefix
		h.provision()
		registry, _ := h.open()
		apps = append(apps, create(t, registry, prefix).App.ID)
		if count(registry) != 1 {
			t.Errorf("%d apps", count(registry))
		}
	}
	for _, n := range nodes {
		know(t, n)
	}
	for i, n := range nodes {
		for j := range 3 {
			n.publish(message("app", "a", fmt.Sprint(i, ".", j)))
		}
	}
	for i, n := range nodes {
		until(t, "its own messages", func() bool { return len(n.delivered("app")) >= 3 })
		for j, got := range n.delivered("app") {
			if got.Event != fmt.Sprint(i, ".", j) || got.Offset != uint64(j+1) {
				t.Errorf("%d got %s at %d", i, got.Event, got.Offset)
			}
		}
	}
	if apps[0] == apps[1] {
		t.Error("the apps have one ID")
	}
}
