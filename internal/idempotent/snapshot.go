package idempotent

import (
	"context"
	"time"
)

// A Saved is an answered key, for the memory of the next process.
type Saved struct {
	App    string
	Key    [16]byte
	Body   Digest
	Answer []byte
	Age    time.Duration
}

// Save returns the answered keys, each app's in the order in which they were
// answered. It waits for claims that have not ended, until ctx ends.
func (m *Memory) Save(ctx context.Context) (all []Saved) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.claimed > 0 && ctx.Err() == nil {
		if m.unclaimed == nil {
			m.unclaimed = make(chan struct{})
		}
		ended := m.unclaimed
		m.mu.Unlock()
		select {
		case <-ended:
		case <-ctx.Done():
		}
		m.mu.Lock()
	}
	now := time.Now()
	for id, a := range m.apps {
		for e := a.oldest; e != nil; e = e.next {
			if a.keys.Get(e.key) == e {
				all = append(all, Saved{id, e.key, e.body, e.answer, now.Sub(e.at)})
			}
		}
	}
	return all
}

// Restore remembers keys that were saved some time ago. It is called before any
// other method.
func (m *Memory) Restore(all []Saved, elapsed time.Duration) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range all {
		age := s.Age + max(0, elapsed)
		if age >= Lifetime {
			continue
		}
		a := m.app(s.App)
		e := &entry{key: s.Key, body: s.Body, answer: s.Answer, at: now.Add(-age)}
		a.keys.Set(e.key, e)
		a.append(e)
	}
}

// end counts a claim that has ended. The caller holds mu.
func (m *Memory) end() {
	if m.claimed--; m.claimed == 0 && m.unclaimed != nil {
		close(m.unclaimed)
		m.unclaimed = nil
	}
}
