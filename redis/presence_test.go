package redis

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/cluster"
)

func TestUserOnSeveralMachinesIsOneMember(t *testing.T) {
	s := startRedis(t)
	all := venues(t, s.url(), "a", "b", "c")
	watchers := []*guest{all[0].enter("c", ""), all[1].enter("c", ""), all[2].enter("c", "")}
	tabs := []*guest{all[0].enter("c", "ann"), all[1].enter("c", "ann"), all[2].enter("c", "ann")}
	bob := all[1].enter("c", "bob")
	for _, w := range watchers {
		w.expect("ann bob")
		w.venue.caughtUp("c")
	}
	for _, tab := range tabs[:2] {
		tab.leave()
	}
	bob.leave()
	for _, w := range watchers {
		w.expect("ann")
	}
	tabs[2].leave()
	for _, w := range watchers {
		w.expect("")
		if got := w.heard(); got != "+ann +bob -bob -ann" {
			t.Errorf("on %s: %s", w.venue.id, got)
		}
	}
}

func TestFirstSubscriberOfAMachineKnowsWhoIsThere(t *testing.T) {
	s := startRedis(t)
	all := venues(t, s.url(), "a", "b")
	first := all[0].enter("c", "")
	all[0].enter("c", "ann")
	all[0].enter("c", "\x00\xff :\n u")
	first.expect("\x00\xff :\n u ann")
	until(t, "redis knows", func() bool { return len(all[0].facts()) == 3 })
	late := all[1].enter("c", "bob")
	if got := late.knows(); got != "\x00\xff :\n u ann bob" {
		t.Errorf("knows %q", got)
	}
	// Nobody is left over for the next first subscriber.
	late.leave()
	until(t, "without subscribers, nobody is known", func() bool { return len(all[1].presence.Members("app", "c")) == 0 })
	until(t, "redis knows", func() bool { return len(all[0].facts()) == 5 })
	if got := all[1].enter("c", "").knows(); got != "\x00\xff :\n u ann" {
		t.Errorf("knows %q", got)
	}
}

// Where many come and go all the time, the members are never read without a change
// meanwhile.
func TestMembersWhoComeWhileTheOthersAreReadAreKnown(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	all := venues(t, s.url(), "a", "b")
	all[0].enter("c", "")
	all[0].enter("c", "ann")
	all[0].caughtUp("c")
	a := all[1].app("app")
	sub := &subscription{app: a, channel: "c"}
	a.add(sub, true)
	f := a.expectFill(sub)
	rosters, err := a.readRosters(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	f.at, f.roster = a.at, &rosters[0]
	at := f.roster.at
	for i, what := range []string{"+bob", "+cyd", "-ann"} {
		a.takeNotice(sub, fmt.Sprintf("\x02%s %s %d %d 3\n%s{}", what[:1], at.Epoch, at.Offset+uint64(i), at.Offset+uint64(i)+1, what[1:]))
	}
	if a.finishFill(sub, f); !<-f.done {
		t.Fatal("the members must be read again")
	}
	var users []string
	for _, m := range all[1].presence.Members("app", "c") {
		users = append(users, m.ID)
	}
	if !slices.Equal(users, []string{"bob", "cyd"}) {
		t.Errorf("the members are %q", users)
	}
}

func TestEachChangeOfAllMachinesIsOneFact(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	all := venues(t, s.url(), "a", "b")
	var want []string
	fact := func(what string) {
		t.Helper()
		want = append(want, what)
		until(t, what, func() bool { return len(all[0].facts()) >= len(want) })
	}
	first := all[0].enter("c", "")
	fact("occupied c")
	ann := all[0].enter("c", "ann")
	fact("joined c ann")
	second := all[1].enter("c", "ann")
	other := all[1].enter("plain", "")
	fact("occupied plain")
	first.leave()
	ann.leave()
	bob := all[1].enter("c", "bob")
	fact("joined c bob")
	other.leave()
	fact("vacated plain")
	second.leave()
	fact("left c ann")
	all[1].presence.Leave("app", "c", "bob")
	fact("left c bob")
	bob.member.Close()
	fact("vacated c")
	if got := all[0].facts(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for i := range laneCount {
		lane := laneName(defaultPrefix, i)
		for _, v := range all {
			if says, err := s.do("HGETALL", saysKey(lane, v.id)).AsStrMap(); err != nil || len(says) > 1 {
				t.Errorf("%s has said %v, %v", v.id, says, err)
			}
		}
	}
	if n, err := s.do("EXISTS", all[0].app("app").membersKey("c")).AsInt64(); n != 0 || err != nil {
		t.Error("the empty channel is still there", err)
	}
}

func TestUsersOfAKilledMachineLeaveUnlessTheyAreElsewhere(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	all := venues(t, s.url(), "a", "b", "c")
	watchers := []*guest{all[0].enter("c", ""), all[1].enter("c", "")}
	all[0].enter("c", "ann")
	all[2].enter("c", "ann")
	all[2].enter("c", "bob")
	all[2].enter("of c alone", "bob")
	for _, w := range watchers {
		w.expect("ann bob")
	}
	all[2].die()
	for _, w := range watchers {
		w.expect("ann")
		if got := w.heard(); strings.Contains(got, "-ann") {
			t.Errorf("on %s: %s", w.venue.id, got)
		}
	}
	until(t, "everything of it is removed", func() bool {
		n, err := s.do("EXISTS", saysKey(laneName(defaultPrefix, laneOf("app")), all[2].id)).AsInt64()
		return n == 0 && err == nil
	})
	got := all[0].facts()
	for _, want := range []string{"left c bob", "vacated of c alone", "left of c alone bob"} {
		n := 0
		for _, f := range got {
			if f == want {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%q is a fact %d times: %q", want, n, got)
		}
	}
}

// The clients of a machine that ends as planned come to another within the grace.
func TestNobodyLeavesWhoComesBackElsewhereWithinTheGrace(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	all := venues(t, s.url(), "a", "b")
	for _, v := range all {
		v.grace.Store(int64(2 * shortLease / 3))
	}
	w := all[0].enter("c", "")
	all[1].enter("c", "ann")
	all[1].enter("c", "bob")
	w.expect("ann bob")
	ended := time.Now()
	all[1].close()
	until(t, "it is gone", func() bool { return all[0].told() == all[1].id })
	all[0].enter("c", "ann")
	w.expect("ann")
	if after := time.Since(ended); after < all[0].Grace() {
		t.Errorf("bob has left after %s", after)
	}
	if got := w.heard(); got != "+ann +bob -bob" {
		t.Error(got)
	}
}

// Nobody was there to see that a machine was killed.
func TestUsersOfAMachineThatWasKilledBeforeTheNextOneStartedLeave(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	first := newVenue(t, s.url(), "a", shortLease)
	first.enter("c", "ann")
	until(t, "redis knows", func() bool { return len(first.facts()) == 2 })
	first.die()
	second := newVenue(t, s.url(), "b", shortLease)
	second.enter("c", "").expect("")
	if got := second.facts(); len(got) != 3 || got[2] != "left c ann" {
		t.Error(got)
	}
}

func TestMachineThatWasLostSaysAgainWhoIsThere(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	all := venues(t, s.url(), "a", "b")
	here, there := all[0].enter("c", ""), all[1].enter("c", "")
	all[1].enter("c", "ann")
	here.expect("ann")
	resume := all[1].suspend()
	here.expect("")
	resume()
	here.expect("ann")
	there.expect("ann")
	if got := there.heard(); got != "+ann" {
		t.Errorf("on the machine that was lost: %s", got)
	}
}

// The removal may be in the middle when the machine is back, or when the one that removes
// it ends.
func TestRemovalOfAMachineCanBeginAndStopAtAnyTime(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	all := venues(t, s.url(), "a", "b", "c")
	w := all[0].enter("c", "")
	for i := range 20 {
		all[2].enter(fmt.Sprint(i), "ann")
	}
	all[2].enter("c", "ann")
	w.expect("ann")
	lane := laneName(defaultPrefix, laneOf("app"))
	until(t, "redis knows", func() bool { return len(all[0].facts()) == 2*21 })
	// One has begun, and ends.
	mark, _, err := all[0].entomb(t.Context(), lane, all[2].id)
	if err != nil {
		t.Fatal(err)
	}
	gone := map[string][]cluster.ChannelMember{"c": nil}
	if known, err := all[0].sayAll(t.Context(), lane, "app", all[2].id, mark, gone); !known || err != nil {
		t.Fatal(known, err)
	}
	w.expect("")
	// Two others do it at the same time, and the machine is back.
	all[2].lane("app").register.doubt()
	var clearing sync.WaitGroup
	for _, v := range all[:2] {
		clearing.Go(func() {
			for range 20 {
				if err := v.clear(t.Context(), lane, all[2].id); err != nil {
					t.Error(err)
				}
			}
		})
	}
	clearing.Wait()
	w.expect("ann")
	for i := range 20 {
		all[1].enter(fmt.Sprint(i), "").expect("ann")
	}
	// The first one goes on, too late.
	if known, err := all[0].sayAll(t.Context(), lane, "app", all[2].id, mark, gone); known || err != nil {
		t.Error("what a machine has said again is removed", err)
	}
	joined, left := 0, 0
	for _, f := range all[0].facts() {
		switch {
		case strings.HasPrefix(f, "joined"):
			joined++
		case strings.HasPrefix(f, "left"):
			left++
		}
	}
	if joined-left != 21 {
		t.Errorf("%d facts joined, %d left, and 21 members", joined, left)
	}
}

func TestNobodyLeavesWhenRedisLosesItsData(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	all := venues(t, s.url(), "a", "b", "c")
	var guests []*guest
	for i, v := range all {
		guests = append(guests, v.enter("c", ""))
		v.enter("c", fmt.Sprint("u", i))
	}
	for _, g := range guests {
		g.expect("u0 u1 u2")
	}
	for _, lose := range []func(){
		func() { s.do("FLUSHALL") },
		func() { s.kill(); s.start() },
	} {
		lose()
		until(t, "redis has it again", func() bool {
			users, err := s.do("HGETALL", all[0].app("app").membersKey("c")).AsStrMap()
			return err == nil && len(users) == 3+2 // the occupancy, and the number
		})
	}
	all[1].enter("c", "new")
	for _, g := range guests {
		g.expect("new u0 u1 u2")
		if got := g.heard(); strings.Contains(got, "-") {
			t.Errorf("on %s: %s", g.venue.id, got)
		}
	}

	// With the data, a machine ends. The others would remove its users only after the grace.
	for _, v := range all {
		v.grace.Store(int64(time.Hour))
	}
	all[2].close()
	s.do("FLUSHALL")
	for _, g := range guests[:2] {
		g.expect("new u0 u1")
	}
}

// Sockets come and go on three machines, whose connections break. At each quiet moment,
// all subscribers know who is there.
func TestAllMachinesTellTheSame(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	all := venues(t, s.url(), "a", "b", "c")
	random := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	channels := []string{"x", "y", "z"}
	var here []*guest
	for range 12 {
		for range 60 {
			switch n := random.IntN(100); {
			case n < 50:
				user := ""
				if random.IntN(4) > 0 {
					user = fmt.Sprint("u", random.IntN(6))
				}
				g, err := all[random.IntN(len(all))].tryEnter(channels[random.IntN(len(channels))], user)
				if err == nil { // otherwise the connection was gone
					here = append(here, g)
				}
			case n < 98 && len(here) > 0:
				i := random.IntN(len(here))
				here[i].leave()
				here = slices.Delete(here, i, i+1)
			default:
				if err := s.do("CLIENT", "KILL", "TYPE", []string{"pubsub", "normal"}[random.IntN(2)]).Error(); err != nil {
					t.Log(err) // it may have been that of the test
				}
			}
		}
		truth := make(map[string]map[string]bool)
		for _, g := range here {
			if truth[g.channel] == nil {
				truth[g.channel] = make(map[string]bool)
			}
			if g.user != "" {
				truth[g.channel][g.user] = true
			}
		}
		for _, g := range here {
			g.expect(strings.Join(slices.Sorted(maps.Keys(truth[g.channel])), " "))
		}
	}
}

// While Redis is away, clients try ever other channels.
func TestWhatRedisIsToBeToldIsBounded(t *testing.T) {
	r := &register{wake: make(chan struct{}, 1), changed: make(map[place]struct{})}
	for i := range maxChanged + 10 {
		r.note(place{"app", fmt.Sprint(i), ""})
	}
	changed, compare := r.take()
	if len(changed) > maxChanged || !compare {
		t.Errorf("%d wait, compare %t", len(changed), compare)
	}
	changed = map[place]struct{}{{"app", "a", "ann"}: {}}
	if r.putBack(changed, false); len(r.changed) != 1 || r.compare {
		t.Errorf("%v, compare %t", r.changed, r.compare)
	}
}
