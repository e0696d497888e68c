package hub

import (
	"context"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/idempotent"
	"github.com/seed-c079cc48/caddy-realtime/internal/limit"
)

// A gate applies Terms in the memory of this machine.
type gate struct {
	limits limit.Group
	keys   idempotent.Memory
}

// enter applies terms, and sets o. Unless it returns an error or a replay, the caller
// publishes the messages, and then calls leave if there is a key.
func (g *gate) enter(all []*Message, t *Terms, o *Outcome) (claim idempotent.Claim, err error) {
	app := all[0].App
	if t.Key.Value != "" {
		var record []byte
		claim, record, err = g.keys.Begin(idempotent.Request{App: app, Key: t.Key.Value, Body: t.Key.Body})
		if err != nil {
			return claim, err
		}
		if record != nil {
			*o = Outcome{Rate: g.limits.AllowN(app, 0, t.Limit, t.Window), Replayed: true}
			return claim, Replay(string(record), all)
		}
	}
	if o.Rate = g.limits.AllowN(app, len(all), t.Limit, t.Window); o.Rate.OK {
		return claim, nil
	}
	if t.Key.Value != "" {
		g.leave(claim, nil)
	}
	return claim, ErrRateLimited
}

// leave ends a claim: its key is remembered if messages were published, or free again if
// there are none.
func (g *gate) leave(claim idempotent.Claim, published []*Message) {
	var record []byte
	if published != nil {
		record = []byte(recordOf(published))
	}
	g.keys.End(claim, record)
}

func (g *gate) forget(app string) {
	g.limits.Forget(app)
	g.keys.Forget(app)
}

// Shrink frees memory of limits and idempotency keys that no longer count.
func (h *Hub[P]) Shrink() {
	h.gate.limits.Shrink()
	h.gate.keys.Sweep()
}

// SaveKeys returns the idempotency keys that this machine remembers. It waits until
// publishes in flight are done, or ctx ends.
func (h *Hub[P]) SaveKeys(ctx context.Context) []idempotent.Saved { return h.gate.keys.Save(ctx) }

// RestoreKeys remembers keys that were saved some time ago. It is called before anything
// is published.
func (h *Hub[P]) RestoreKeys(all []idempotent.Saved, elapsed time.Duration) {
	h.gate.keys.Restore(all, elapsed)
}
