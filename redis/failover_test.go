package redis

import (
	"maps"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/webhook"
)

// failovers are ways in which a primary ends.
var failovers = map[string]struct {
	fail   func(*redisServer)
	losing bool // the replica lacks the last writes
}{
	"killed":              {fail: (*redisServer).kill},
	"hanging":             {fail: func(s *redisServer) { s.signal(syscall.SIGSTOP) }},
	"killed, losing some": {fail: (*redisServer).kill, losing: true},
}

// replicated waits until the replica has everything that the primary has now.
func (w *watched) replicated(t testing.TB) {
	t.Helper()
	want := w.primary.info()["master_repl_offset"]
	until(t, "the replica has everything", func() bool { return w.replica.info()["slave_repl_offset"] >= want })
}

func TestFailoverOfSentinelLeavesMembersRight(t *testing.T) {
	for name, how := range failovers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := startSentinel(t)
			// A machine finds out after 5 s that a server hangs: longer than a short lease.
			all := []*venue{newVenue(t, w.url, "a", leaseTime), newVenue(t, w.url, "b", leaseTime)}
			know(t, all[0].node, all[1].node)
			watchers := []*guest{all[0].enter("c", ""), all[1].enter("c", "")}
			ann := all[1].enter("c", "ann")
			all[0].enter("c", "bob")
			for _, g := range watchers {
				g.expect("ann bob")
			}
			if how.losing {
				w.replicated(t)
				w.detach(t)
			}
			// The replica knows ann for good and not cyd, if the writes are lost.
			ann.leave()
			all[0].enter("c", "cyd")
			for _, g := range watchers {
				g.expect("bob cyd")
			}
			if !how.losing {
				w.replicated(t)
			}
			how.fail(w.primary)
			// What changes meanwhile is known later.
			all[0].presence.Join("app", "c", "dan", []byte(`{"of":"dan"}`))
			w.failedOver(t)
			for _, g := range watchers {
				g.expect("bob cyd dan")
			}
			late := all[1].enter("c", "eve")
			until(t, "the new primary has the same", func() bool {
				rosters, err := all[0].app("app").readRosters(t.Context(), "c")
				var users []string
				if err == nil {
					for _, m := range rosters[0].members {
						users = append(users, m.User)
					}
				}
				return strings.Join(users, " ") == "bob cyd dan eve"
			})
			late.leave()
			for _, g := range watchers {
				g.expect("bob cyd dan")
				heard := make(map[string]string)
				for what := range strings.FieldsSeq(g.heard()) {
					heard[what[1:]] += what[:1]
				}
				// Who comes and leaves while a machine reads the members again is not seen, or
				// twice. That ann has left may have been lost: then she comes and leaves again.
				for _, left := range []string{"ann", "eve"} {
					if strings.ReplaceAll(heard[left], "+-", "") == "" {
						heard[left] = "+-"
					}
				}
				if want := map[string]string{"ann": "+-", "bob": "+", "cyd": "+", "dan": "+", "eve": "+-"}; !maps.Equal(heard, want) {
					t.Errorf("on %s: %s", g.venue.id, g.heard())
				}
			}
			for _, v := range all {
				if got := v.told(); got != "" {
					t.Errorf("for %s, %s is gone", v.id, got)
				}
			}
		})
	}
}

func TestFailoverOfSentinelLosesNoEventUnsaid(t *testing.T) {
	for name, how := range failovers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := startSentinel(t)
			r := newReceiver(t)
			all, _ := tellers(t, w.url, hookTo(r.URL))
			r.down.Store(how.losing) // so that the lost events were not sent before
			say := func(first int) {
				for _, m := range all {
					m.say(first, 50)
				}
			}
			say(0)
			facts := func(s *redisServer) string {
				return strings.TrimSpace(s.cli("XLEN", factsKey(baseName(defaultPrefix, "shop"))))
			}
			until(t, "redis has them", func() bool { return facts(w.primary) == "150" || len(r.got()) >= 150 })
			w.replicated(t)
			if how.losing {
				w.detach(t)
			}
			say(50)
			until(t, "the primary has them", func() bool { return facts(w.primary) == "300" || len(r.got()) >= 300 })
			if !how.losing { // otherwise what the primary has answered last can be lost
				w.replicated(t)
			}
			how.fail(w.primary)
			say(100)
			w.failedOver(t)
			r.down.Store(false)
			last := func(m *teller) bool {
				for _, e := range r.got() {
					if e.Event == m.id+" 149" {
						return true
					}
				}
				return false
			}
			for _, m := range all {
				until(t, "the last event of "+m.id, func() bool { return last(m) })
			}
			came, told := make(map[string]bool), false
			for _, e := range r.got() {
				came[e.Event] = true
				told = told || e.Type == webhook.StateReset || e.Type == webhook.Dropped
			}
			delete(came, "")
			if len(came) < 450 && !told {
				t.Errorf("%d events of 450, and it is not said", len(came))
			}
			if !how.losing && len(came) != 450 {
				t.Errorf("%d events of 450", len(came))
			}
			t.Logf("%d of 450 events, reset or dropped: %t", len(came), told)
		})
	}
}

func TestFailoverOfSentinelKeepsSessionsOrTellsTheirClients(t *testing.T) {
	for name, how := range failovers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := startSentinel(t)
			nodes := ofNodes(t, w.url, time.Minute, "a", "b")
			one, other := nodes[0].broker, nodes[1].broker
			save := func(pid string) {
				t.Helper()
				if err := one.SaveSession(t.Context(), record(pid, 1), time.Minute); err != nil {
					t.Fatal(err)
				}
			}
			save("before")
			w.replicated(t)
			if how.losing {
				w.detach(t)
			}
			save("last")
			if taken, err := other.TakeSession(t.Context(), "app", "before", nodes[0].id); err != nil || !taken {
				t.Fatal(taken, err)
			}
			if !how.losing {
				w.replicated(t)
			}
			how.fail(w.primary)
			w.failedOver(t)
			find := func(pid string) (found bool, machine string) {
				until(t, "sessions are found or not", func() bool {
					r, id, err := other.FindSession(t.Context(), "app", pid)
					found, machine = r != nil, id
					return err == nil
				})
				return found, machine
			}
			if found, _ := find("last"); found == how.losing { // the client is told that it was not recovered
				t.Errorf("found %t", found)
			}
			found, machine := find("before")
			want := nodes[1].id
			if how.losing { // it can be taken again, and its former owner cannot save it
				want = nodes[0].id
			}
			if !found || machine != want {
				t.Errorf("found %t, of %q", found, machine)
			}
			if taken, err := other.TakeSession(t.Context(), "app", "before", machine); err != nil || !taken {
				t.Error(taken, err)
			}
			if err := one.SaveSession(t.Context(), record("before", 9), time.Minute); err == nil {
				t.Error("two machines have a session")
			}
		})
	}
}

func TestSenderNoticesThatAFactIsGoneAlthoughOthersCame(t *testing.T) {
	s := startRedis(t)
	b := newNode(t, s.url(), "", "a", time.Minute).broker
	key := factsKey(baseName(defaultPrefix, "shop"))
	known := webhook.Known{}
	lead := func() (epoch string) {
		t.Helper()
		l, err := b.Lead(t.Context(), "shop", "a", time.Minute, known)
		if err != nil {
			t.Fatal(err)
		}
		known = webhook.Known{Epoch: l.Epoch, Saved: l.Saved, Added: l.Added, Last: l.Last}
		return l.Epoch
	}
	number := uint64(0)
	add := func() {
		t.Helper()
		number++
		if err := b.AppendFacts(t.Context(), "shop", "a", number, []webhook.Fact{{Event: webhook.Event{Type: webhook.ClientEvent, Event: "e"}}}); err != nil {
			t.Fatal(err)
		}
	}
	add()
	add()
	first := lead()
	s.do("XDEL", key, known.Last.String())
	add()
	second := lead()
	if second == first {
		t.Error("it is not noticed")
	}
	// Facts that were trimmed are not lost.
	add()
	lead()
	add()
	s.do("XTRIM", key, "MAXLEN", "1")
	if lead() != second {
		t.Error("trimmed facts count as lost")
	}
}
