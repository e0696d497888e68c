package redis

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/webhook"
)

// moveThereAndBack moves the slot of a key to another server, and back. It calls between
// after each key, and after each move.
func moveThereAndBack(t testing.TB, servers []*redisServer, key string, between func()) {
	t.Helper()
	slot := strings.TrimSpace(servers[0].cli("CLUSTER", "KEYSLOT", key))
	first := indexOf(servers, key)
	from, to := servers[first], servers[(first+1)%len(servers)]
	for range 2 {
		moveSlot(t, servers, from, to, slot, between)
		between()
		from, to = to, from
	}
}

// A crowd comes to channels and leaves them, until it is stopped.
type crowd struct {
	changes atomic.Int64
	stopped atomic.Bool
	work    sync.WaitGroup

	mu   sync.Mutex      // guards here
	here map[string]bool // channel and user
}

func (c *crowd) note(channel, user string, is bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if is {
		c.here[channel+" "+user] = true
	} else {
		delete(c.here, channel+" "+user)
	}
	c.changes.Add(1)
}

// crowdIn has users of each machine come to the channels and leave, until the returned
// crowd is stopped. Each user has one machine.
func crowdIn(all []*venue, channels ...string) *crowd {
	c := &crowd{here: make(map[string]bool)}
	for _, v := range all {
		c.work.Go(func() {
			is := make(map[string]bool)
			for i := 0; !c.stopped.Load(); i++ {
				channel, user := channels[i%len(channels)], fmt.Sprint(v.id[:1], i/len(channels)%4)
				key := channel + " " + user
				if is[key] = !is[key]; is[key] {
					v.presence.Join("app", channel, user, []byte(`{"of":"`+user+`"}`))
				} else {
					v.presence.Leave("app", channel, user)
				}
				c.note(channel, user, is[key])
				time.Sleep(time.Millisecond) // the load, not a condition
			}
		})
	}
	return c
}

// progress waits until there are more changes.
func (c *crowd) progress(t testing.TB, n int64) {
	t.Helper()
	before := c.changes.Load()
	until(t, "the crowd moves", func() bool { return c.changes.Load() >= before+n })
}

func (c *crowd) stop() {
	c.stopped.Store(true)
	c.work.Wait()
}

// in returns who is in a channel.
func (c *crowd) in(channel string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var users []string
	for _, key := range slices.Sorted(maps.Keys(c.here)) {
		if at, user, _ := strings.Cut(key, " "); at == channel {
			users = append(users, user)
		}
	}
	return strings.Join(users, " ")
}

// paired fails unless each member's facts say in turns that it has joined and left, and
// the last one what is.
func (c *crowd) paired(t testing.TB, facts []string) {
	t.Helper()
	last := make(map[string]string)
	for i, f := range facts {
		what, at, _ := strings.Cut(f, " ")
		if what != "joined" && what != "left" {
			continue
		}
		if before := last[at]; before == what || before == "" && what == "left" {
			t.Errorf("fact %d: %s after %q", i, f, before)
		}
		last[at] = what
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for at, what := range last {
		if (what == "joined") != c.here[at] {
			t.Errorf("the last fact of %s is that it has %s", at, what)
		}
	}
}

func TestSlotThatMovesLeavesMembersRight(t *testing.T) {
	servers := startCluster(t)
	all := venues(t, servers[0].url(), "a", "b", "c")
	channels := []string{"u", "v", "w", "x", "y"}
	var watchers []*guest
	for _, v := range all {
		for _, channel := range channels {
			watchers = append(watchers, v.enter(channel, ""))
		}
	}
	crowd := crowdIn(all, channels...)
	crowd.progress(t, 100)
	moveThereAndBack(t, servers, baseName(defaultPrefix, "app"), func() { crowd.progress(t, 50) })
	crowd.stop()
	for _, w := range watchers {
		w.expect(crowd.in(w.channel))
	}
	crowd.paired(t, all[0].facts())
	for _, v := range all {
		if got := v.told(); got != "" {
			t.Errorf("for %s, %s is gone", v.id, got)
		}
	}
	// What the machines have said is right, too: those that are left over are removed.
	all[2].close()
	for _, w := range watchers[:2*len(channels)] {
		var rest []string
		for user := range strings.FieldsSeq(crowd.in(w.channel)) {
			if user[0] != 'c' {
				rest = append(rest, user)
			}
		}
		w.expect(strings.Join(rest, " "))
	}
}

func TestSlotThatMovesLosesNoFacts(t *testing.T) {
	servers := startCluster(t)
	r := newReceiver(t)
	all, _ := tellers(t, servers[0].url(), hookTo(r.URL))
	n := 0
	say := func() {
		for _, m := range all {
			m.say(n, 10)
		}
		n += 10
	}
	say()
	r.complete(n, all...)
	moveThereAndBack(t, servers, baseName(defaultPrefix, "shop"), func() {
		say()
		time.Sleep(20 * time.Millisecond) // the load, not a condition
	})
	say()
	r.complete(n, all...)
	r.gapless()
	for _, e := range r.got() {
		if e.Type == webhook.StateReset {
			t.Errorf("event %d is a reset", e.Seq)
		}
	}
}

func TestSlotThatMovesLosesNoSession(t *testing.T) {
	servers := startCluster(t)
	nodes := ofNodes(t, servers[0].url(), time.Minute, "a", "b")
	const sessions = 5
	version, owner := uint64(0), 0
	moveThereAndBack(t, servers, baseName(defaultPrefix, "app"), func() {
		version++
		mine, other := nodes[owner].broker, nodes[1-owner].broker
		for i := range sessions {
			pid := fmt.Sprint("p", i)
			if err := mine.SaveSession(t.Context(), record(pid, version), time.Minute); err != nil {
				t.Error(err)
			}
			if err := other.SaveSession(t.Context(), record(pid, version+1), time.Minute); !errors.Is(err, hub.ErrTaken) {
				t.Error("two machines have a session:", err)
			}
			r, machine, err := other.FindSession(t.Context(), "app", pid)
			if err != nil || r == nil || r.Version != version || machine != nodes[owner].id {
				t.Fatalf("%v of %s, %v", r, machine, err)
			}
			if taken, err := other.TakeSession(t.Context(), "app", pid, machine); err != nil || !taken {
				t.Error(taken, err)
			}
		}
		owner = 1 - owner
	})
}

func TestSlotOfTheMachinesMovesWithoutLosingOne(t *testing.T) {
	servers := startCluster(t)
	nodes := ofNodes(t, servers[0].url(), shortLease, "a", "b")
	moveThereAndBack(t, servers, machinesName(defaultPrefix), func() {
		for _, n := range nodes { // several leases
			n.Update(n.member().self)
		}
		time.Sleep(shortLease / 2)
	})
	until(t, "machines can be asked", func() bool { _, err := ask(nodes[0], nodes[1], "who", "?"); return err == nil })
	know(t, append(nodes, newNode(t, servers[0].url(), "", "c", shortLease))...)
	for _, n := range nodes {
		if got := n.told(); got != "" {
			t.Errorf("for %s, %s is gone", n.id, got)
		}
	}
}

func TestSlotOfTheKeystoreMovesWhileAppsAreChanged(t *testing.T) {
	servers := startCluster(t)
	one, s := newHolder(t, servers[0].url()).open()
	other, _ := newHolder(t, servers[1].url()).open()
	id := create(t, one, "shop").App.ID
	for _, key := range []string{s.names.index, s.names.app(id)} {
		var changing sync.WaitGroup
		var changes, stopped atomic.Int64
		changing.Go(func() {
			for i := 0; stopped.Load() == 0; i++ {
				rename(t, one, id, fmt.Sprint(i))
				changes.Add(1)
			}
		})
		progress := func() {
			before := changes.Load()
			until(t, "apps are changed", func() bool { return changes.Load() > before+2 })
		}
		progress()
		moveThereAndBack(t, servers, key, func() { _ = sleep(t.Context(), minPause) })
		progress()
		stopped.Add(1)
		changing.Wait()
	}
	rename(t, one, id, "last")
	knows(t, other, id, "last")
}
