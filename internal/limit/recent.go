package limit

import "time"

// Recent remembers values by keys that clients choose. A key is forgotten if it
// was not put for a window or two, and the number of keys per window is
// bounded. The caller synchronises access. Its zero value is empty.
type Recent[K comparable, V any] struct {
	newer, older map[K]V   // put in this window, and only in the previous one
	began        time.Time // start of this window
}

// Get returns a key's value, if it is remembered. free reports whether the key
// should be put: it was not yet put in this window, and fewer than size keys
// were.
func (r *Recent[K, V]) Get(key K, window time.Duration, size int) (value V, known, free bool) {
	now := time.Now()
	if age := now.Sub(r.began); age >= window || r.newer == nil {
		r.older = r.newer
		if age >= 2*window {
			r.older = nil
		}
		r.newer, r.began = make(map[K]V), now
	}
	if value, known = r.newer[key]; known {
		return value, true, false
	}
	value, known = r.older[key]
	return value, known, len(r.newer) < size
}

// Put remembers a value in the window of the last Get.
func (r *Recent[K, V]) Put(key K, value V) { r.newer[key] = value }
