package realtime

import "sync"

// maxArriving bounds the memory, in bytes, of an app's large publishes while
// their bodies arrive. Without it, anyone with a publish key could fill the
// machine's memory with bodies that never end, at the expense of all apps.
const maxArriving = 64 << 20

// arrivals counts the bytes of large publishes in flight, by app. The zero value
// is ready to use.
type arrivals struct {
	mu    sync.Mutex // guards byApp
	byApp map[string]int64
}

// An arrival is one publish in flight.
type arrival struct {
	all  *arrivals
	app  string
	size int64
}

// take reserves memory for a publish of that size and reports whether there was
// room. An app can always have one publish in flight: max_body bounds its size.
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

// end releases the memory that take reserved.
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
