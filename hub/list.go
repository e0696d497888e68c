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

// List returns an app's occupied channels in order of their names: at most
// limit of those that begin with prefix and follow the name in after, which is
// "" for the first page. more reports that further channels follow. A channel
// whose last subscriber leaves meanwhile can be listed with 0 subscribers. List
// scans the channels of all apps, so it is meant for people, not for programs
// that poll.
func (h *Hub[P]) List(app, prefix, after string, limit int) (page []Occupied, more bool) {
	var found []*channel[P]
	for i := range h.shards {
		s := &h.shards[i]
		s.mu.RLock()
		for n, c := range s.channels.All() {
			if n.app == app && n.channel > after && strings.HasPrefix(n.channel, prefix) {
				found = append(found, c)
			}
		}
		s.mu.RUnlock()
	}
	slices.SortFunc(found, func(a, b *channel[P]) int { return strings.Compare(a.name.channel, b.name.channel) })
	if more = len(found) > limit; more {
		found = found[:limit]
	}
	page = make([]Occupied, 0, len(found))
	for _, c := range found {
		page = append(page, Occupied{c.name.channel, c.count()})
	}
	return page, more
}

// Subscribers returns the number of a channel's subscribers.
func (h *Hub[P]) Subscribers(app, channel string) int {
	c := h.find(name{app, channel})
	if c == nil {
		return 0
	}
	return c.count()
}

func (c *channel[P]) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.subs)
}
