package redis

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/cluster"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// refusals are ways in which a server refuses even a PING, and ends that.
var refusals = []struct {
	name, answer   string
	refuse, accept func(t *testing.T, s *redisServer)
}{
	{"it cannot write its snapshots", "MISCONF", func(t *testing.T, s *redisServer) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(s.dir, "dump.rdb", "in the way"), 0o700); err != nil {
			t.Fatal(err)
		}
		s.do("CONFIG", "SET", "save", "3600 1")
		s.do("BGSAVE")
	}, func(_ *testing.T, s *redisServer) { s.do("CONFIG", "SET", "stop-writes-on-bgsave-error", "no") }},
	{"it is busy with a script", "BUSY", func(_ *testing.T, s *redisServer) {
		s.do("CONFIG", "SET", "busy-reply-threshold", "1")
		go func() {
			_, _ = exec.Command("redis-cli", "-p", strconv.Itoa(s.port), "EVAL", "while true do end", "0").Output()
		}()
	}, func(_ *testing.T, s *redisServer) { s.cli("SCRIPT", "KILL") }},
}

// whileRefusing runs a test with each of the refusals. before runs on a server that accepts
// everything, and returns what runs while it refuses, and then what runs afterwards.
func whileRefusing(t *testing.T, before func(t *testing.T, s *redisServer) (during func(answer string), after func())) {
	t.Helper()
	for _, test := range refusals {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := startRedis(t)
			during, after := before(t, s)
			test.refuse(t, s)
			until(t, "it refuses", func() bool { return strings.HasPrefix(s.cli("PING"), test.answer) })
			during(test.answer)
			test.accept(t, s)
			until(t, "it accepts", func() bool { return strings.HasPrefix(s.cli("PING"), "PONG") })
			after()
		})
	}
}

// A panic of rueidis would end the process.
func TestServerThatRefusesPingsEndsNoMachine(t *testing.T) {
	t.Parallel()
	whileRefusing(t, func(t *testing.T, s *redisServer) (func(string), func()) {
		t.Helper()
		m := s.join("")
		m.subscribe("app", "a")
		m.subscribe("app", "b")
		return func(string) {
				if err := m.Interest(t.Context(), "app", "a", false); err != nil {
					t.Error(err)
				}
			}, func() {
				m.subscribe("app", "c") // its answer is not that to something else
				sent := message("app", "b", "e")
				until(t, "a publish is accepted", func() bool { return m.broker.Publish(t.Context(), []*hub.Message{sent}) == nil })
				until(t, "it arrives", func() bool { return len(m.delivered("app")) > 0 })
			}
	})
}

// Otherwise a machine that restarts in such a moment serves none of its sites.
func TestMachineStartsWhileTheServerRefusesPings(t *testing.T) {
	t.Parallel()
	whileRefusing(t, func(t *testing.T, s *redisServer) (func(string), func()) {
		t.Helper()
		h := newHolder(t, s.url())
		first, kept := h.open()
		id := create(t, first, "shop").App.ID
		until(t, "the copy has the app", func() bool {
			copied, err := kept.copy.Load().read()
			if err != nil || copied == nil {
				return false
			}
			apps, err := copied.apps()
			return err == nil && len(apps) == 1
		})
		var m *node
		var again *keystore.Registry
		return func(answer string) {
				m = &node{machine: s.join(""), id: "c" + strings.Repeat("0", cluster.IDLength-1)}
				until(t, "the machine knows it", func() bool { return m.refusal() != nil })
				if err := m.Join(cluster.Machine{ID: m.id, Version: "v1", Started: time.Now()}, m); err != nil {
					t.Fatal(err)
				}
				wantError(t, m.Publish(t.Context(), []*hub.Message{message("app", "a", "early")}), answer)
				again, _ = h.open()
				if _, ok := again.App(id); !ok {
					t.Error("the app of the copy is not known")
				}
			}, func() {
				until(t, "the machine knows it", func() bool { return m.refusal() == nil })
				m.subscribe("app", "a")
				sent := message("app", "a", "e")
				until(t, "a publish is accepted", func() bool { return m.Publish(t.Context(), []*hub.Message{sent}) == nil })
				until(t, "it arrives", func() bool { return len(m.delivered("app")) == 1 })
				until(t, "an app can be made", func() bool { _, err := again.Create("other"); return err == nil })
				know(t, newNode(t, s.url(), "", "a", leaseTime), newNode(t, s.url(), "", "b", leaseTime), m)
			}
	})
}

// A subscriber, and the check of health with it, would wait in vain, and hear of a time-out.
func TestServerThatRefusesPingsIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	whileRefusing(t, func(t *testing.T, s *redisServer) (func(string), func()) {
		t.Helper()
		m := s.join("")
		m.subscribe("app", "a")
		return func(answer string) {
			until(t, "the machine knows it", func() bool { return m.refusal() != nil })
			began := time.Now()
			wantError(t, m.Publish(t.Context(), []*hub.Message{message("app", "a", "e")}), answer)
			wantError(t, m.Interest(t.Context(), "new", "a", true), answer)
			if err := m.Interest(t.Context(), "app", "b", true); err != nil {
				wantError(t, err, answer)
			}
			if took := time.Since(began); took >= requestTimeout {
				t.Errorf("it took %s", took)
			}
		}, func() {}
	})
}
