package idempotent

import (
	"cmp"
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/lean"
)

// maxBytes is how much memory the answers of an app take, including overhead.
// Answers to single publishes reach MaxKeys first.
const maxBytes = 64 << 20

// overhead is roughly the memory of a remembered key without its answer.
const overhead = 200

// Memory remembers answers in the memory of the process. All its methods can be called
// concurrently. Its zero value is ready to use.
type Memory struct {
	maxKeys, maxBytes int // for tests; 0 means the constants

	mu    sync.Mutex // guards everything below, and the apps
	apps  map[string]*app
	token uint64 // of the last claim

	claimed   int           // claims that have not ended
	unclaimed chan struct{} // if not nil, closed when claimed drops to 0
}

// app has the keys of an app.
type app struct {
	keys           lean.Map[keyHash, *entry]
	oldest, newest *entry // answered, in the order in which they were
	answered       int    // entries from oldest to newest
	bytes          int    // of those
}

// keyHash stands for a key, which is chosen by clients and can be long.
type keyHash [16]byte

func hashOf(key string) keyHash {
	sum := sha256.Sum256([]byte(key))
	return keyHash(sum[:])
}

// entry is a key that is in progress or answered.
type entry struct {
	key    keyHash
	body   Digest
	token  uint64    // of the claim
	answer []byte    // nil while it is in progress
	at     time.Time // of the answer, with the monotonic clock
	next   *entry    // answered after this one
}

func (e *entry) size() int { return len(e.answer) + overhead }

func (e *entry) expired(now time.Time) bool { return e.answer != nil && now.Sub(e.at) >= Lifetime }

// Begin claims the key of a request. A nil error means one of two things: if answer is
// not nil, the request was carried out before and this is its answer; otherwise the
// caller carries it out, and must end the claim.
//
// The error is ErrInProgress while the claim of another request with this key has not
// ended, or ErrMismatch if the key was used with another body.
func (m *Memory) Begin(r Request) (claim Claim, answer []byte, err error) {
	key, now := hashOf(r.Key), time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.app(r.App)
	a.dropExpired(now, expiredAtOnce)
	if e := a.keys.Get(key); e != nil && !e.expired(now) {
		switch {
		case e.answer == nil:
			return Claim{}, nil, ErrInProgress
		case e.body != r.Body:
			return Claim{}, nil, ErrMismatch
		}
		return Claim{}, e.answer, nil
	}
	m.token++
	m.claimed++
	a.keys.Set(key, &entry{key: key, body: r.Body, token: m.token})
	return Claim{Request: r, Token: m.token}, nil, nil
}

// End ends a claim. The answer is remembered, or if it is nil, the key is free again.
// Ending a claim that has ended, or whose app was forgotten, does nothing.
func (m *Memory) End(claim Claim, answer []byte) {
	key, now := hashOf(claim.Request.Key), time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.apps[claim.Request.App]
	if a == nil {
		return
	}
	e := a.keys.Get(key)
	if e == nil || e.token != claim.Token || e.answer != nil {
		return
	}
	m.end()
	if answer == nil {
		a.keys.Delete(key)
		return
	}
	e.answer, e.at = slices.Clone(answer), now
	a.append(e)
	for a.answered > cmp.Or(m.maxKeys, MaxKeys) || a.bytes > cmp.Or(m.maxBytes, maxBytes) {
		a.dropOldest()
	}
}

// app finds or creates an app. The caller holds mu.
func (m *Memory) app(id string) *app {
	a := m.apps[id]
	if a == nil {
		a = new(app)
		if m.apps == nil {
			m.apps = make(map[string]*app)
		}
		m.apps[id] = a
	}
	return a
}

// Forget drops an app that is not expected again.
func (m *Memory) Forget(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a := m.apps[id]; a != nil {
		for _, e := range a.keys.All() {
			if e.answer == nil {
				m.end()
			}
		}
	}
	delete(m.apps, id)
}

// expiredAtOnce is how many expired keys a request drops, so that none has to wait
// for many.
const expiredAtOnce = 4

// sweptAtOnce is how many keys Sweep drops before it lets requests in.
const sweptAtOnce = 1000

// Sweep frees the memory of expired keys, which changes no answer.
func (m *Memory) Sweep() {
	m.mu.Lock()
	ids := make([]string, 0, len(m.apps))
	for id := range m.apps {
		ids = append(ids, id)
	}
	m.mu.Unlock()
	now := time.Now()
	for _, id := range ids {
		for m.sweep(id, now) {
		}
	}
}

// sweep reports whether the app may have more expired keys.
func (m *Memory) sweep(id string, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.apps[id]
	if a == nil {
		return false
	}
	more := a.dropExpired(now, sweptAtOnce)
	if a.keys.Len() == 0 {
		delete(m.apps, id)
	}
	return more
}

// append adds an answered entry as the newest.
func (a *app) append(e *entry) {
	if a.newest == nil {
		a.oldest = e
	} else {
		a.newest.next = e
	}
	a.newest = e
	a.answered++
	a.bytes += e.size()
}

// dropOldest forgets the oldest answer. There must be one.
func (a *app) dropOldest() {
	e := a.oldest
	if a.oldest = e.next; a.oldest == nil {
		a.newest = nil
	}
	a.answered--
	a.bytes -= e.size()
	if a.keys.Get(e.key) == e { // an expired key can have been claimed again
		a.keys.Delete(e.key)
	}
}

// dropExpired drops up to n expired answers. It reports whether it has dropped n.
func (a *app) dropExpired(now time.Time, n int) bool {
	for ; n > 0; n-- {
		if a.oldest == nil || !a.oldest.expired(now) {
			return false
		}
		a.dropOldest()
	}
	return true
}
