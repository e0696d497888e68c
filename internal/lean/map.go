// Package lean has a map that gives memory back.
package lean

import (
	"iter"
	"maps"
)

// shrinkAt is how many entries a map must have had to be worth a smaller one.
const shrinkAt = 256

// A Map is a map whose memory shrinks when few of many entries are left, which
// that of Go's maps never does. The zero value is empty and ready for use.
type Map[K comparable, V any] struct {
	all  map[K]V
	most int // entries since all was made
}

// Len is the number of entries.
func (m *Map[K, V]) Len() int { return len(m.all) }

// Get returns the value of a key, or the zero value.
func (m *Map[K, V]) Get(key K) V { return m.all[key] }

// All yields the entries, in no order. The map must not be changed meanwhile.
func (m *Map[K, V]) All() iter.Seq2[K, V] { return maps.All(m.all) }

// Set sets the value of a key.
func (m *Map[K, V]) Set(key K, value V) {
	if m.all == nil {
		m.all = make(map[K]V)
	}
	m.all[key] = value
	m.most = max(m.most, len(m.all))
}

// Delete removes a key.
func (m *Map[K, V]) Delete(key K) {
	delete(m.all, key)
	left := len(m.all)
	if m.most < shrinkAt || left > m.most/4 {
		return
	}
	smaller := make(map[K]V, left)
	maps.Copy(smaller, m.all)
	m.all, m.most = smaller, left
}
