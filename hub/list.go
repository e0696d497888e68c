package hub

import (
	"slices"
	"strings"
)

// Occupied is a channel that has subscribers, and their number.
type Occupied struct {
	Channel     string
	Subscribers int
}

// List returns an app's occupied channels, without hidden ones, in order of their names: at most
// limit of those that begin with prefix and follow the name in after, which is
// "" for the first page. more reports that further channels follow. List
// scans the channels of all apps, so it is meant for people, not for programs
// that poll.
func (h *Hub[P]) List(app, prefix, after string, limit int) (page []Occupied, more bool) {
	var found []*channel[P]
	for i := range h.shards {
		s := &h.shards[i]
		s.mu.RLock()
		for n, c := range s.channels.All() {
			if n.app == app && n.channel > after && strings.HasPrefix(n.channel, prefix) && !IsHidden(n.channel) {
				found = append(found, c)
			}
		}
		s.mu.RUnlock()
	}
	slices.SortFunc(found, func(a, b *channel[P]) int { return strings.Compare(a.name.channel, b.name.channel) })
	page = make([]Occupied, 0, min(limit, len(found)))
	for _, c := range found {
		n := c.occupants()
		switch {
		case n == 0: // it only has a history, or its last subscriber left meanwhile
		case len(page) == limit:
			return page, true
		default:
			page = append(page, Occupied{c.name.channel, n})
		}
	}
	return page, false
}

// Subscribers returns the number of a channel's subscribers.
func (h *Hub[P]) Subscribers(app, channel string) int {
	c := h.find(name{app, channel})
	if c == nil {
		return 0
	}
	return c.occupants()
}

func (c *channel[P]) occupants() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.subs)
}

// In returns a channel's subscribers, in no particular order.
func (h *Hub[P]) In(app, channel string) []Subscriber[P] {
	c := h.find(name{app, channel})
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]Subscriber[P], len(c.subs))
	for i, sub := range c.subs {
		all[i] = sub.member.to
	}
	return all
}
