package realtime

import (
	"sync"

	"github.com/seed-c079cc48/caddy-realtime/webhook"
)

// rejections counts what was refused, for webhooks: anybody can cause very many.
type rejections struct {
	mu    sync.Mutex // guards count
	count map[rejection]uint64
}

type rejection struct{ app, code string }

func (r *rejections) add(app, code string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count == nil {
		r.count = make(map[rejection]uint64)
	}
	r.count[rejection{app, code}]++
}

// tell sends the counts, and begins again.
func (r *rejections) tell(h *hooks) {
	r.mu.Lock()
	count := r.count
	r.count = nil
	r.mu.Unlock()
	for of, n := range count {
		h.emit(webhook.Event{Type: webhook.Rejected, App: of.app, Code: of.code, Count: n})
	}
}
