package realtime

import "sync"

// maxArriving bounds what an app's large publishes take while they arrive, in
// bytes. Without it whoever has one publish key could fill the machine's memory
// with bodies that never end, and all apps would pay.
const maxArriving = 64 << 20

// arrivals counts the bytes of large publishes that are being taken, by app. Its
// zero value has none.
type arrivals struct {
	mu    sync.Mutex // guards byApp
	byApp map[string]int64
}

// An arrival is one publish.
type arrival struct {
	all  *arrivals
	app  string
	size int64
}

// take makes room for a publish of that size, if there is some: an app may
// always take one, as its size is bounded by max_body.
func (a *arrival) take(size int64) bool {
	a.all.mu.Lock()
	defer a.all.mu.Unlock()
	now := a.all.byApp[a.app]
	if now > 0 && now+size > maxArriving {
		return false
	}
	if a.all.byApp == nil {
		a.all.byApp = make(map[string]int64)
	}
	a.all.byApp[a.app] = now + size
	a.size = size
	return true
}

// end gives back what take took.
func (a *arrival) end() {
	if a.size == 0 {
		return
	}
	a.all.mu.Lock()
	defer a.all.mu.Unlock()
	if a.all.byApp[a.app] -= a.size; a.all.byApp[a.app] == 0 {
		delete(a.all.byApp, a.app)
	}
}
