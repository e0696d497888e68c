package presence

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A world is a Presence beside a simple model of it, and subscribers that
// believe what they are told.
type world struct {
	t        *testing.T
	p        *Presence
	random   *rand.Rand
	most     int
	grace    map[string]time.Duration
	channels map[key]*modelChannel
	sockets  []modelSocket
	seen     map[string]int // events
	log      []entry

	// With other machines: what the sharer was told of, and what Here said the last time.
	shared  bool
	changed map[modelSocket]bool
	here    map[modelSocket]string

	mu sync.Mutex // held while the owner of the timers announces
}

// An entry of the log is formatted only if the test fails.
type entry struct {
	at     time.Time
	format string
	a      []any
}

type key struct{ app, channel string }

type modelSocket struct {
	key
	user string
}

// A modelChannel is a channel as the model knows it.
type modelChannel struct {
	members   []*modelMember // in order of joining
	changed   time.Time      // when the last member joined or left
	counted   time.Time      // when its count was sent
	large     bool
	joined    map[string]int // how often each user has joined, minus how often it has left
	believers []*believer
}

type modelMember struct {
	id      string
	info    string
	own     string // of the newest socket here
	sockets int
	until   time.Time // the end of the grace, if sockets is 0

	elsewhere bool
}

// here reports whether this machine has the member.
func (m *modelMember) here() bool { return m.sockets > 0 || time.Now().Before(m.until) }

func (m *modelMember) is(got Member) bool {
	return m.id == got.ID && m.info == string(got.Info) && m.sockets == got.Sockets
}

// A believer is a subscriber as its client sees the channel.
type believer struct {
	count int
	ids   []string
	large bool
}

func newWorld(t *testing.T, seed uint64, most int, shared bool) *world {
	t.Helper()
	w := &world{
		t: t, random: rand.New(rand.NewPCG(seed, uint64(most))), most: most,
		grace:    map[string]time.Duration{"x": 5 * time.Second, "y": 0},
		channels: make(map[key]*modelChannel),
		seen:     make(map[string]int),
	}
	w.p = New(w.announce, func(app string) time.Duration { return w.grace[app] })
	w.p.most = most
	if w.shared = shared; shared {
		w.changed, w.here = make(map[modelSocket]bool), make(map[modelSocket]string)
		w.p.Share(func(app, channel, user string) { w.changed[modelSocket{key{app, channel}, user}] = true })
	}
	for _, app := range []string{"x", "y"} {
		for _, channel := range []string{"a", "b", "c"} {
			w.channels[key{app, channel}] = &modelChannel{joined: make(map[string]int)}
		}
	}
	return w
}

func (w *world) fatal(format string, a ...any) {
	w.t.Helper()
	for _, e := range w.log {
		w.t.Logf(e.at.Format("05.000 ")+e.format, e.a...)
	}
	w.t.Fatalf(format, a...)
}

func (w *world) note(format string, a ...any) {
	if len(w.log) == 80 {
		w.log = append(w.log[:0], w.log[40:]...)
	}
	w.log = append(w.log, entry{time.Now(), format, a})
}

// announce is the hub. The owner of the timers calls it only while the world
// sleeps.
func (w *world) announce(app, channel string, change func() (string, any, bool)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	event, data, ok := change()
	if !ok {
		return
	}
	w.note("%s/%s: %s %+v", app, channel, event, data)
	w.seen[event]++
	c := w.channels[key{app, channel}]
	switch d := data.(type) {
	case Joined:
		if c.joined[d.ID]++; c.joined[d.ID] != 1 {
			w.fatal("%s has joined %s twice", d.ID, d.Channel)
		}
		for _, m := range c.members {
			if m.id == d.ID && m.info != string(d.Info) {
				w.fatal("%s joined with %s, not with %s", d.ID, d.Info, m.info)
			}
		}
	case Left:
		if c.joined[d.ID]--; c.joined[d.ID] != 0 {
			w.fatal("%s has left %s without having joined", d.ID, d.Channel)
		}
	case Count:
		if time.Since(c.counted) < time.Second {
			w.fatal("the count of %s was sent twice within a second", d.Channel)
		}
		c.counted, c.large = time.Now(), true
	case Full:
		if len(d.Members) != d.Count || d.Count > w.most {
			w.fatal("%d members of %d", len(d.Members), d.Count)
		}
		c.large = false
		clear(c.joined)
		for _, m := range d.Members {
			c.joined[m.ID] = 1
		}
	}
	for _, b := range c.believers {
		if problem := b.apply(data); problem != "" {
			w.fatal("%s", problem)
		}
	}
}

// apply does what a client does with an event.
func (b *believer) apply(data any) (problem string) {
	switch d := data.(type) {
	case Joined:
		if b.large || slices.Contains(b.ids, d.ID) {
			return "a second " + d.ID
		}
		b.count++
		b.ids = append(b.ids, d.ID)
	case Left:
		i := slices.Index(b.ids, d.ID)
		if b.large || i < 0 {
			return d.ID + ", who is not there, has left"
		}
		b.count--
		b.ids = slices.Delete(b.ids, i, i+1)
	case Count:
		b.large, b.count, b.ids = true, d.Count, nil
	case Full:
		*b = believer{count: d.Count, ids: ids(d.Members)}
	}
	return ""
}

func ids(members []Member) []string {
	all := make([]string, len(members))
	for i, m := range members {
		all[i] = m.ID
	}
	return all
}

func (w *world) step() {
	k := key{[]string{"x", "y"}[w.random.IntN(2)], []string{"a", "b", "c"}[w.random.IntN(3)]}
	c := w.channels[k]
	if w.shared && w.random.IntN(4) == 0 {
		w.others(k)
		w.check(k)
		return
	}
	switch n := w.random.IntN(100); {
	case n < 36:
		w.join(k, fmt.Sprint("u", w.random.IntN(8)))
	case n < 72:
		if len(w.sockets) > 0 {
			w.leave(w.random.IntN(len(w.sockets)))
		}
	case n < 80:
		w.subscribe(k)
	case n < 87:
		if len(c.believers) > 2 {
			c.believers = c.believers[1:]
		}
	case n < 98:
		times := []time.Duration{0, 100 * time.Millisecond, time.Second, 1500 * time.Millisecond, 5 * time.Second, 7 * time.Second, 12 * time.Second}
		w.sleep(times[w.random.IntN(len(times))])
	case n == 98:
		w.grace[k.app] = []time.Duration{0, time.Second, 5 * time.Second}[w.random.IntN(3)]
	case w.random.IntN(10) == 0:
		w.forget(k.app)
	default: // a user that is no member leaves
		w.p.Leave(k.app, k.channel, "nobody")
		w.p.Leave("nowhere", k.channel, "u1")
	}
	w.check(k)
}

// subscribe adds a subscriber, which begins with a snapshot.
func (w *world) subscribe(k key) {
	s, c := w.p.Snapshot(k.app, k.channel), w.channels[k]
	first := c.members[:min(len(c.members), w.most)]
	if s.Count != len(c.members) || s.Truncated != c.large || !slices.EqualFunc(first, s.Members, (*modelMember).is) {
		w.fatal("%v: the snapshot is %+v, want the first of %+v", k, s, c.members)
	}
	w.note("%v: a subscriber", k)
	c.believers = append(c.believers, &believer{s.Count, ids(s.Members), s.Truncated})
}

func (w *world) join(k key, user string) {
	info := []string{"", `{"n":1}`, `{"n":2}`}[w.random.IntN(3)]
	w.note("%s joins %v with %s", user, k, info)
	c := w.channels[k]
	i := slices.IndexFunc(c.members, func(m *modelMember) bool { return m.id == user })
	if i < 0 {
		i = len(c.members)
		c.members = append(c.members, &modelMember{id: user})
		c.changed = time.Now()
	}
	m := c.members[i]
	m.info, m.own, m.sockets = info, info, m.sockets+1
	w.sockets = append(w.sockets, modelSocket{k, user})
	text := json.RawMessage(info)
	w.p.Join(k.app, k.channel, user, text)
	clear(text) // it belongs to the caller
}

// others is what all machines together say: of one user, or of the channel.
func (w *world) others(k key) {
	if w.random.IntN(10) > 0 {
		user, is := fmt.Sprint("u", w.random.IntN(8)), w.random.IntN(2) == 0
		w.p.Set(k.app, k.channel, user, w.elsewhere(k, user, is), is)
		return
	}
	var all []Member
	count := w.random.IntN(6)
	for _, m := range slices.Clone(w.channels[k].members) { // those who leave are first
		if m.elsewhere && m.id >= fmt.Sprint("u", count) {
			w.elsewhere(k, m.id, false)
		}
	}
	for i := range count {
		user := fmt.Sprint("u", i)
		all = append(all, Member{ID: user, Info: w.elsewhere(k, user, true)})
	}
	w.p.Replace(k.app, k.channel, all)
}

// elsewhere has the model be told by the other machines of a user, and returns its info.
func (w *world) elsewhere(k key, user string, is bool) json.RawMessage {
	info := []string{"", `{"n":1}`, `{"n":2}`}[w.random.IntN(3)]
	w.note("%s is in %v with %s elsewhere: %t", user, k, info, is)
	c := w.channels[k]
	i := slices.IndexFunc(c.members, func(m *modelMember) bool { return m.id == user })
	if i < 0 && is {
		c.members = append(c.members, &modelMember{id: user, info: info, elsewhere: true})
		c.changed = time.Now()
	} else if i >= 0 {
		m := c.members[i]
		was := m.elsewhere
		m.elsewhere = is
		switch {
		case is:
			m.info = info
		case was && !is && !m.here():
			c.members = slices.Delete(c.members, i, i+1)
			c.changed = time.Now()
		}
	}
	return json.RawMessage(info)
}

func (w *world) leave(i int) {
	s := w.sockets[i]
	w.note("%s leaves %v", s.user, s.key)
	w.sockets = slices.Delete(w.sockets, i, i+1)
	c := w.channels[s.key]
	for _, m := range c.members {
		if m.id == s.user {
			if m.sockets--; m.sockets == 0 {
				m.until = time.Now().Add(w.grace[s.app])
			}
		}
	}
	w.expire()
	w.p.Leave(s.app, s.channel, s.user)
}

func (w *world) forget(app string) {
	w.note("forget %s", app)
	for k := range w.channels {
		if k.app == app {
			w.channels[k] = &modelChannel{joined: make(map[string]int)}
		}
	}
	w.sockets = slices.DeleteFunc(w.sockets, func(s modelSocket) bool { return s.app == app })
	w.p.Forget(app)
}

func (w *world) sleep(d time.Duration) {
	w.mu.Lock() // the owner sees what was done until now
	w.note("%s pass", d)
	w.mu.Unlock()
	time.Sleep(d)
	synctest.Wait()
	w.expire()
}

// expire removes the members whose grace has ended from the model.
func (w *world) expire() {
	for _, c := range w.channels {
		c.members = slices.DeleteFunc(c.members, func(m *modelMember) bool {
			if m.here() || m.elsewhere {
				return false
			}
			if m.until.After(c.changed) {
				c.changed = m.until
			}
			return true
		})
	}
}

// check compares a channel with the model, and with what its subscribers believe.
func (w *world) check(k key) {
	c := w.channels[k]
	want, got := c.members, w.p.Members(k.app, k.channel)
	if n := w.p.Count(k.app, k.channel); n != len(got) {
		w.fatal("%v: %d members are counted as %d", k, len(got), n)
	}
	if !slices.EqualFunc(want, got, (*modelMember).is) {
		w.fatal("%v: got %+v, want %+v", k, got, want)
	}
	w.checkTimers()
	if w.shared {
		w.checkShared(k)
	}
	rest := time.Since(c.changed)
	if len(want) > w.most && !c.large || c.large && len(want) <= w.most && rest >= stay+pause {
		w.fatal("%v has %d members for %s; large: %t", k, len(want), rest, c.large)
	}
	for _, b := range c.believers {
		switch {
		case b.large != c.large:
			w.fatal("%v: a subscriber takes it for large: %t", k, b.large)
		case !c.large && !slices.Equal(b.ids, ids(got)):
			w.fatal("%v: a subscriber believes in %v; %+v", k, b.ids, got)
		case (!c.large || rest >= pause) && b.count != len(want):
			w.fatal("%v: a subscriber believes in %d members, %s after there were %d", k, b.count, rest, len(want))
		}
	}
}

// checkShared fails the test if the other machines do not know what this one has.
func (w *world) checkShared(k key) {
	all := 0
	for i := range 8 {
		s := modelSocket{k, fmt.Sprint("u", i)}
		info, is := w.p.Here(k.app, k.channel, s.user)
		var want *modelMember
		for _, m := range w.channels[k].members {
			if m.id == s.user && m.here() {
				want = m
			}
		}
		if is != (want != nil) || is && want.own != string(info) {
			w.fatal("%v: %s is here: %t, with %s; want %+v", k, s.user, is, info, want)
		}
		now := ""
		if is {
			now = "is here with " + string(info)
			all++
		}
		if now != w.here[s] && !w.changed[s] {
			w.fatal("%v: the others were not told that %s %s", k, s.user, now)
		}
		w.here[s] = now
		delete(w.changed, s)
	}
	if here := w.p.MembersHere(k.app, k.channel); len(here) != all || slices.Contains(w.p.ChannelsHere(k.app), k.channel) != (all > 0) {
		w.fatal("%v: here are %+v, want %d; channels %v", k, here, all, w.p.ChannelsHere(k.app))
	}
}

// checkTimers fails the test if there are timers that nobody needs.
func (w *world) checkTimers() {
	most := 0
	for _, c := range w.channels {
		if c.large {
			most++
		}
		for _, m := range c.members {
			if m.sockets == 0 {
				most++
			}
		}
	}
	w.p.mu.Lock()
	n := len(w.p.timers)
	w.p.mu.Unlock()
	if n > most {
		w.fatal("there are %d timers for %d graces and large channels", n, most)
	}
}

// end lets all sockets leave. Nothing is left afterwards.
func (w *world) end() {
	for len(w.sockets) > 0 {
		w.leave(w.random.IntN(len(w.sockets)))
	}
	for k := range w.channels {
		w.p.Replace(k.app, k.channel, nil)
		for _, m := range w.channels[k].members {
			m.elsewhere = false
		}
	}
	w.expire()
	w.sleep(time.Minute)
	for k, c := range w.channels {
		w.check(k)
		for user, n := range c.joined {
			if n != 0 {
				w.fatal("%v: %s has joined, but not left", k, user)
			}
		}
	}
	w.p.Close()
	if len(w.p.apps) != 0 || len(w.p.timers) != 0 {
		w.fatal("%d apps and %d timers are left", len(w.p.apps), len(w.p.timers))
	}
}

// What subscribers believe is the state, as the model says, after any joins,
// leaves and pauses; with few users in a channel, and with channels that are
// large now and then.
func TestPresenceIsWhatTheModelSays(t *testing.T) {
	steps := 40_000
	if os.Getenv("STRESS") != "" {
		steps = 1_000_000
	}
	for _, most := range []int{Most, 4, 2} {
		for seed := range uint64(3) {
			t.Run(fmt.Sprintf("most %d, seed %d", most, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, seed, most, seed > 0)
					defer w.p.Close()
					for range steps {
						w.step()
					}
					for k := range w.channels {
						w.check(k)
					}
					w.end()
					if w.seen[EventJoined] == 0 || w.seen[EventLeft] == 0 || (w.seen[EventPresence] > 0) != (most < Most) {
						t.Errorf("the events are %v", w.seen)
					}
				})
			})
		}
	}
}
