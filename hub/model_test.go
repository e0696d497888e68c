package hub

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A world is a hub beside a simple model of it: what the history keeps, and what
// each client is owed.
type world struct {
	t       testing.TB
	hub     *Hub[string]
	choose  func(n int) int
	last    uint64
	kept    []*keptMessage    // in order
	evicted map[string]uint64 // the highest offset that history does not have, by channel
	clients []*modelClient
	limit   int64
	crowded bool // sessions that are away may give way to others
	outcome map[Recovery]int
	log     []string
}

// A keptMessage is a message as the model knows it.
type keptMessage struct {
	payload string
	channel string
	except  string
	offset  uint64
	until   time.Time
	at      time.Time
	size    int64
}

// An item is one event that a client is owed, in order.
type item struct {
	payload   string
	channel   string
	offset    uint64
	ephemeral bool // not owed if it was missed
}

// A modelClient is a stock client: it keeps its private ID and the ID of the last
// event that it got, and what is on its way to it is lost when it drops.
type modelClient struct {
	world    *world
	id       string
	pid      string
	position string
	arrived  string
	member   *Member[string] // what the hub takes for connected; nil if it knows better
	online   bool
	gone     time.Time // when the hub learned of the drop

	wire   []string // on its way
	stream []item   // what it is owed in this session
	got    int      // how many of them it has, or can no longer get
	spared []item   // messages of its channels that left it out
	joined map[string]uint64
	left   bool
}

func (c *modelClient) ID() string { return c.id }

func (c *modelClient) Queue(payload string) Flusher {
	c.wire = append(c.wire, payload)
	return nil
}

const (
	modelWindow = time.Minute
	modelAge    = 90 * time.Second
	modelReplay = 1500
)

var modelChannels = []string{"a", "b", "c", "d.long", "e"}

func newWorld(t testing.TB, choose func(n int) int) *world {
	w := &world{t: t, choose: choose, limit: 28_000, crowded: choose(2) == 0, outcome: make(map[Recovery]int), evicted: make(map[string]uint64)}
	if choose(3) == 0 {
		w.limit = 9_500
	}
	h, err := New(NewMemory(), Codec[string]{
		Encode: func(m *Message) string { return m.ID() + strings.Repeat(" ", len(m.Data)) },
		Keep:   func(s string) int { return len(s) },
	})
	if err != nil {
		t.Fatal(err)
	}
	limits := Limits{History: w.limit, Replay: modelReplay}
	if w.crowded {
		limits.Away = 3
	}
	h.Configure(limits)
	w.hub = h
	t.Cleanup(func() { _ = h.Close() })
	for range 6 {
		w.clients = append(w.clients, &modelClient{world: w})
	}
	return w
}

func (w *world) note(format string, a ...any) {
	w.log = append(w.log, fmt.Sprintf(format, a...))
	if len(w.log) > 80 {
		w.log = w.log[1:]
	}
}

func (w *world) fatal(format string, a ...any) {
	w.t.Helper()
	w.t.Fatalf("%s\nlast steps:\n%s", fmt.Sprintf(format, a...), strings.Join(w.log, "\n"))
}

// step does one random thing to the hub and to the model.
func (w *world) step() {
	c := w.clients[w.choose(len(w.clients))]
	channel := modelChannels[w.choose(len(modelChannels))]
	switch n := w.choose(100); {
	case n < 35:
		w.publish(channel)
	case n < 60:
		c.read(1 + w.choose(8))
	case n < 70:
		if c.online {
			c.subscribe(channel)
		}
	case n < 73:
		if c.online {
			c.unsubscribe(channel)
		}
	case n < 80:
		c.drop()
	case n < 95:
		if !c.online {
			c.connect()
		}
	case n < 96:
		c.end()
	case n < 99:
		w.sleep(time.Duration(w.choose(2000)) * time.Millisecond)
	default:
		w.sleep(time.Duration(w.choose(100)) * time.Second)
	}
}

func (w *world) sleep(d time.Duration) {
	w.note("sleep %s", d)
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) publish(channel string) {
	m := Message{App: "app", Channel: channel, Event: "e", Data: make([]byte, w.choose(60)), Keep: Keep{Messages: 8, Age: modelAge}}
	if w.choose(8) == 0 {
		m.Except = w.clients[w.choose(len(w.clients))].id
	}
	m.NoHistory = w.choose(10) == 0
	if w.choose(12) == 0 {
		m.Data = make([]byte, 900)
	}
	r, err := w.hub.Publish(w.t.Context(), m)
	if err != nil {
		w.fatal("publish: %v", err)
	}
	w.last++
	if r.Offset != w.last {
		w.fatal("offset %d after %d messages", r.Offset, w.last)
	}
	payload := r.ID() + strings.Repeat(" ", len(m.Data))
	w.note("publish %d to %s except %q ephemeral %t", r.Offset, channel, m.Except, m.NoHistory)
	for _, c := range w.clients {
		i := item{payload, channel, r.Offset, m.NoHistory}
		if _, ok := c.joined[channel]; !ok {
			continue
		}
		if m.Except != "" && c.id == m.Except {
			c.spared = append(c.spared, i)
		} else {
			c.stream = append(c.stream, i)
		}
	}
	if m.NoHistory {
		return
	}
	w.expire()
	k := &keptMessage{payload: payload, channel: channel, except: m.Except, offset: r.Offset, at: time.Now(), until: time.Now().Add(modelAge)}
	k.size = int64(len(payload)) + entrySize
	of := w.of(channel)
	if len(of) == 8 {
		w.evict(func(k *keptMessage) bool { return k == of[0] })
	}
	if len(of) == 0 {
		k.size += recordSize + int64(len(channel))
	}
	k.size *= 2
	w.kept = append(w.kept, k)
	var size int64
	for _, k := range w.kept {
		size += k.size
	}
	for size > w.limit {
		oldest := w.kept[0]
		size -= oldest.size
		w.evict(func(k *keptMessage) bool { return k == oldest })
	}
}

// evict forgets messages.
func (w *world) evict(which func(k *keptMessage) bool) {
	w.kept = slices.DeleteFunc(w.kept, func(k *keptMessage) bool {
		if !which(k) {
			return false
		}
		w.evicted[k.channel] = max(w.evicted[k.channel], k.offset)
		return true
	})
}

// expire forgets what is too old.
func (w *world) expire() {
	now := time.Now()
	w.evict(func(k *keptMessage) bool { return !now.Before(k.until) })
}

// of returns the history of a channel.
func (w *world) of(channel string) (of []*keptMessage) {
	for _, k := range w.kept {
		if k.channel == channel {
			of = append(of, k)
		}
	}
	return of
}

func (w *world) keeps(i item) bool {
	return slices.ContainsFunc(w.kept, func(k *keptMessage) bool { return k.offset == i.offset })
}

// read takes events off the wire.
func (c *modelClient) read(n int) {
	if !c.online {
		return
	}
	for ; n > 0 && len(c.wire) > 0; n-- {
		payload := c.wire[0]
		c.wire = c.wire[1:]
		if c.got == len(c.stream) || c.stream[c.got].payload != payload {
			c.world.fatal("client %s got %q at %d of %v", c.id, payload, c.got, c.stream[max(0, c.got-3):])
		}
		c.got++
		c.position = strings.TrimSpace(payload)
	}
}

func (c *modelClient) subscribe(channel string) {
	w := c.world
	w.expire()
	before := w.of(channel)
	var from From
	var want []*keptMessage
	var missing Missing
	switch w.choose(4) {
	case 0:
		from.Last = 1 + w.choose(10)
		want = before[max(0, len(before)-from.Last):]
	case 1:
		from.Within = time.Duration(1+w.choose(100)) * time.Second
		now := time.Now()
		for _, k := range before {
			if now.Sub(k.at) <= from.Within {
				want = append(want, k)
			}
		}
	case 2:
		p, _ := w.hub.position()
		p.Offset = uint64(w.choose(int(w.last) + 1))
		if back := uint64(w.choose(40)); back < w.last {
			p.Offset = w.last - back
		}
		from.Since = &p
		for _, k := range before {
			if k.offset > p.Offset {
				want = append(want, k)
			}
		}
	}
	want = slices.DeleteFunc(slices.Clone(want), func(k *keptMessage) bool { return k.except == c.id })
	_, in := c.joined[channel]
	if in {
		want = nil
	}
	size, fit := 0, 0
	for fit < len(want) {
		if size += len(want[len(want)-1-fit].payload); size > modelReplay {
			break
		}
		fit++
	}
	if fit < len(want) {
		missing = MissingTooMany
		want = want[len(want)-fit:]
		if from.Since != nil {
			want = nil
		}
	}
	var standing Standing[string]
	err := c.member.Subscribe(w.t.Context(), channel, 100, from, func(s Standing[string]) {
		standing = s
		for _, payload := range s.Replayed {
			c.Queue(payload)
		}
	})
	w.note("%s subscribes to %s from %+v: %d, %q, %v", c.id, channel, from, len(standing.Replayed), standing.Missing, err)
	if err != nil {
		w.fatal("subscribe: %v", err)
	}
	if !in {
		c.joined[channel] = w.last
	}
	if standing.Position.Offset != w.last {
		w.fatal("it stands at %d, not %d", standing.Position.Offset, w.last)
	}
	if !in && from.Since != nil && from.Since.Offset < w.evicted[channel] {
		want, missing = nil, MissingExpired
	}
	if standing.Missing == MissingExpired && from.Since != nil && len(standing.Replayed) == 0 && from.Since.Offset < w.lost() {
		return // a record of the channel may be gone, and with it what was evicted
	}
	if standing.Missing == MissingTooMany && len(standing.Replayed) == 0 {
		return // the size of a replay, or the budget
	}
	if standing.Missing != missing || len(standing.Replayed) != len(want) {
		w.fatal("it gets %v (%s), not %d (%s)", standing.Replayed, standing.Missing, len(want), missing)
	}
	for i, k := range want {
		if standing.Replayed[i] != k.payload {
			w.fatal("it gets %v", standing.Replayed)
		}
		c.stream = append(c.stream, item{payload: k.payload, channel: channel, offset: k.offset})
	}
}

// lost returns the highest offset that no history has any longer.
func (w *world) lost() (most uint64) {
	for _, offset := range w.evicted {
		most = max(most, offset)
	}
	return most
}

// position returns where the only app stands.
func (h *Hub[P]) position() (Position, bool) {
	s := h.stream("app")
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.position(), true
}

func (c *modelClient) unsubscribe(channel string) {
	_, in := c.joined[channel]
	if c.member.Unsubscribe(channel) != in {
		c.world.fatal("unsubscribe")
	}
	if !in {
		return
	}
	c.world.note("%s leaves %s", c.id, channel)
	c.left = true
	delete(c.joined, channel)
	// What is on the wire still arrives, but is not owed after a drop.
	for i := c.got; i < len(c.stream); i++ {
		if c.stream[i].channel == channel {
			c.stream[i].ephemeral = true
		}
	}
}

// drop cuts the connection. The hub may not notice.
func (c *modelClient) drop() {
	if !c.online {
		if c.member != nil { // it does now
			c.world.note("the hub notices that %s is gone", c.id)
			c.member.Leave(modelWindow)
			c.member, c.gone = nil, time.Now()
		}
		return
	}
	c.online, c.wire = false, nil
	c.world.note("%s drops at %d of %d", c.id, c.got, len(c.stream))
	if c.world.choose(3) > 0 {
		c.member.Leave(modelWindow)
		c.member, c.gone = nil, time.Now()
	}
}

// end ends the session, as a revoked key does.
func (c *modelClient) end() {
	if c.member == nil {
		return
	}
	c.world.note("%s is disconnected", c.id)
	c.member.Close()
	c.member, c.online, c.wire = nil, false, nil
	c.joined, c.stream, c.spared, c.got = nil, nil, nil, 0
	c.gone = time.Time{}
	c.left = false
}

// connect comes back, or begins.
func (c *modelClient) connect() {
	w := c.world
	w.expire()
	if c.pid != "" {
		before := c.member
		r := &Return[string]{App: "app", PID: c.pid, Position: c.position, To: c}
		var missed []string
		r.Answer = func(s *Session[string], m []string) {
			missed = m
			if s.ID() != c.id || s.PID() != c.pid {
				w.fatal("it comes back as %s", s.ID())
			}
		}
		member, outcome := w.hub.Recover(r)
		w.outcome[outcome]++
		w.note("%s comes back at %s: %s, %d", c.id, c.position, outcome, len(missed))
		if before != nil && outcome != NoSession && r.Replaced != Subscriber[string](c) {
			w.fatal("it replaces %v", r.Replaced)
		}
		c.judge(outcome, missed)
		if outcome == Recovered {
			c.member, c.online = member, true
			c.wire = missed
			return
		}
		if before != nil {
			before.Close()
		}
	}
	c.id = "s" + strconv.Itoa(w.choose(1_000_000_000))
	c.member, c.online, c.wire = w.hub.Join("app", c), true, nil
	c.joined, c.stream, c.spared, c.got, c.left = make(map[string]uint64), nil, nil, 0, false
	c.arrived = c.position
	c.pid = w.hub.Begin(c.member, c.position).PID()
}

// judge compares a recovery with what the model says.
func (c *modelClient) judge(outcome Recovery, missed []string) {
	w := c.world
	var want []string
	whole, size := true, 0
	rest := c.stream[c.got:]
	for _, i := range rest {
		switch {
		case i.ephemeral:
		case !w.keeps(i):
			whole = false
		default:
			want = append(want, i.payload)
			size += len(i.payload)
		}
	}
	switch outcome {
	case Recovered:
		if !whole || !slices.Equal(missed, want) {
			w.fatal("%s recovered %v, but is owed %v (all kept: %t)", c.id, missed, want, whole)
		}
		rest = slices.DeleteFunc(slices.Clone(rest), func(i item) bool { return i.ephemeral })
		c.stream = append(slices.Clone(c.stream[:c.got]), rest...)
	case NoSession: // it has ended, or was away for too long, or gave way
		if c.joined != nil && c.member != nil {
			w.fatal("%s has no session while connected", c.id)
		}
		if c.joined != nil && time.Since(c.gone) < modelWindow && !w.crowded {
			w.fatal("%s has no session %s after it was gone", c.id, time.Since(c.gone))
		}
	case NoPosition: // ambiguous
		times := 0
		for _, i := range c.stream {
			if strings.TrimSpace(i.payload) == c.position {
				times++
			}
		}
		if times < 2 && !(c.position == c.arrived && times > 0) && !(times == 1 && c.left) {
			w.fatal("%s has no position at %q (began at %q)", c.id, c.position, c.arrived)
		}
	case Expired:
		// Of a message that left the client out, only the history knows that.
		p, _ := ParseID(c.position)
		for _, i := range c.spared {
			whole = whole && (i.offset <= p.Offset || w.keeps(i) || i.ephemeral)
		}
		if whole {
			w.fatal("%s is told that something expired, but all is kept: %v", c.id, want)
		}
	case TooMany:
		if size <= modelReplay && len(want) <= MaxReplay {
			w.fatal("%s is told that %d messages of %d bytes are too many", c.id, len(want), size)
		}
	case OverBudget:
	default:
		w.fatal("%s: %s", c.id, outcome)
	}
}

// TestClientsAreOwedWhatTheModelSays runs random steps. STRESS=1 makes them a
// million.
func TestClientsAreOwedWhatTheModelSays(t *testing.T) {
	steps, seeds := 5_000, 12
	if os.Getenv("STRESS") != "" {
		steps, seeds = 10_000, 100
	}
	outcomes := make(map[Recovery]int)
	for seed := range uint64(seeds) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 7))
			w := newWorld(t, random.IntN)
			for range steps {
				w.step()
			}
			w.finish()
			for o, n := range w.outcome {
				outcomes[o] += n
			}
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Log(outcomes)
	for _, o := range []Recovery{Recovered, NoSession, NoPosition, Expired, TooMany} {
		if outcomes[o] == 0 {
			t.Errorf("no client was told %s", o)
		}
	}
}

// finish checks that nothing is left once all clients have gone and time has
// passed.
func (w *world) finish() {
	for _, c := range w.clients {
		if c.online {
			c.read(len(c.wire))
			if c.got != len(c.stream) {
				w.fatal("%s got %d of %d", c.id, c.got, len(c.stream))
			}
		}
		if c.member != nil {
			c.member.Leave(modelWindow)
		}
	}
	w.sleep(3 * modelAge)
	h := w.hub
	if n := h.AllAway(); n != 0 || h.sessions.byPID.Len() != 0 {
		w.fatal("%d sessions are left, %d away", h.sessions.byPID.Len(), n)
	}
	left := 0
	for i := range h.shards {
		left += h.shards[i].channels.Len()
	}
	if kept := h.History(); left != 0 || kept.Messages != 0 || kept.Bytes != 0 || h.Channels() != 0 || h.Subscriptions() != 0 {
		w.fatal("%d records and %+v are left", left, kept)
	}
}
