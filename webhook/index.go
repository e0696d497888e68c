package webhook

import (
	"slices"
	"strings"
	"time"
)

// An index finds the hooks that want an event. It is replaced, never changed.
type index map[string][]wish // by app

// A wish is which events a hook wants.
type wish struct {
	types  typeSet
	prefix string
	queue  *queue
}

func (w *wish) matches(typ typeSet, channel string) bool {
	return w.types&typ != 0 && (channel == "" || strings.HasPrefix(channel, w.prefix))
}

// newIndex returns an index of the enabled hooks.
func newIndex(queues map[string]*queue) *index {
	x := make(index)
	for _, q := range queues {
		if hook := q.hook.Load(); hook.Enabled {
			x[hook.App] = append(x[hook.App], wish{hook.types(), hook.Prefix, q})
		}
	}
	return &x
}

// Wanted reports whether a hook of the app wants such events. It takes no lock.
// Callers use it where it is costly to make the event.
func (m *Manager) Wanted(app, typ, channel string) bool {
	wishes := (*m.index.Load())[app]
	if len(wishes) == 0 {
		return false
	}
	set := setOf(typ)
	for i := range wishes {
		if wishes[i].matches(set, channel) {
			return true
		}
	}
	return false
}

// Emit queues an event for the hooks of its app that want it. It does no I/O, and
// does not wait. Each hook gets events in the order in which Emit was called. Types
// that are not in Types are ignored.
func (m *Manager) Emit(e Event) {
	wishes := (*m.index.Load())[e.App]
	if len(wishes) == 0 {
		return
	}
	set := setOf(e.Type)
	if m.shared != nil {
		// What takes an event back has to be known, too.
		for _, pair := range [...]typeSet{occupied | vacated, joined | left} {
			if pair&set != 0 {
				set = pair
			}
		}
		if slices.ContainsFunc(wishes, func(w wish) bool { return w.matches(set, e.Channel) }) {
			m.outbox.add(Fact{Event: e})
		}
		return
	}
	for i := range wishes {
		if !wishes[i].matches(set, e.Channel) {
			continue
		}
		if e.Time.IsZero() {
			e.Time = time.Now()
		}
		wishes[i].queue.add(e)
	}
}
