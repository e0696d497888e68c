package hub

import "time"

// A Filled message is one that was published before the hub had a subscriber in its
// channel.
type Filled struct {
	*Message

	// Old is how long ago it was published.
	Old time.Duration
}

// fillSweeps is how many sweeps of the history a filled record outlives without
// subscribers: those for whom it was made are about to come.
const fillSweeps = 2

// Fill implements Handler.
func (h *Hub[P]) Fill(app, channel string, at Position, floor uint64, past []Filled) {
	h.stream(app).fill(channel, at, floor, past)
	h.history.bound()
}

func (s *stream[P]) fill(channel string, at Position, floor uint64, past []Filled) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stand(at)
	c := s.channel(channel)
	for !c.enter() {
		c = s.channel(channel)
	}
	defer c.mu.Unlock()
	if len(c.subs) > 0 || c.pins > 0 {
		return // it has been getting all messages
	}
	r := c.history()
	c.evict(r.len())
	r.floor, r.whole, c.filled = floor, true, fillSweeps
	now := time.Since(s.hub.began)
	for _, f := range past {
		k := kept{offset: f.Offset, at: now - f.Old, until: now - f.Old + f.Keep.Age}
		if k.until > now || r.len() > 0 { // see expire
			c.add(k, f.Except, s.hub.codec.Text(s.hub.codec.Encode(f.Message)))
		} else {
			r.floor = f.Offset
		}
	}
}
