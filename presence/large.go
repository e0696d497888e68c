package presence

import "time"

const (
	pause = time.Second      // between two announcements of a count
	stay  = 10 * time.Second // how long a channel stays large at least
)

// unknown is the value of told if subscribers know different counts.
const unknown = -1

// large is the state that only a large channel has.
type large struct {
	since time.Duration // when the channel became large
	told  int           // the count that all subscribers know
	at    time.Duration // when they were last told
	timer *timer        // of the next announcement; nil if there is nothing to announce
}

// grow makes a channel large.
func (c *channel) grow(now time.Duration) {
	c.large = &large{since: now, told: unknown, at: now - pause}
}

// tell returns what to announce in a large channel now, if anything, and sets the
// timer for what must be announced later. The caller holds mu.
func (p *Presence) tell(c *channel) (event string, data any, ok bool) {
	l, now := c.large, p.now()
	if now >= l.at+pause {
		if c.count <= p.most && now >= l.since+stay {
			p.stop(l.timer)
			c.large = nil
			p.tidy(c)
			return EventPresence, Full{c.name, c.count, c.list(p.most)}, true
		}
		if c.count != l.told {
			l.told, l.at = c.count, now
			event, data, ok = EventPresence, Count{c.name, c.count}, true
		}
	}
	p.plan(c)
	return event, data, ok
}

// plan sets the timer of a large channel. The caller holds mu.
func (p *Presence) plan(c *channel) {
	l := c.large
	var at time.Duration
	switch {
	case c.count != l.told:
		at = l.at + pause
	case c.count <= p.most:
		at = max(l.since+stay, l.at+pause)
	default:
		p.stop(l.timer)
		l.timer = nil
		return
	}
	if l.timer == nil || l.timer.at != at {
		p.stop(l.timer)
		l.timer = p.start(&timer{at: at, channel: c})
	}
}
