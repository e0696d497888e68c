package hub

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

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
		if size += textSize(want[len(want)-1-fit].payload); size > modelReplay {
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
	c.pid = w.hub.Begin(c.member, c.position, modelWindow, nil).PID()
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
			size += textSize(i.payload)
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
		if times == 0 || times == 1 && c.position != c.arrived && !c.left {
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
