package engineio

import (
	"context"
	"slices"
	"sync/atomic"
	"time"
)

// A Hold delays answers while one HTTP server takes over from another.
// Otherwise the answers would tell clients to connect again while the kernel
// can still give connections to a listener that is about to close, which resets
// them. The zero value and nil hold nothing. All methods may be called
// concurrently.
type Hold struct {
	// until is when the hold ends: the zero time if that is not known yet, nil
	// if nothing is on hold.
	until atomic.Pointer[time.Time]
}

// Begin puts answers on hold from now on.
func (h *Hold) Begin() { h.until.Store(new(time.Time)) }

// EndIn ends the hold after d.
func (h *Hold) EndIn(d time.Duration) {
	if until := h.until.Load(); until != nil && until.IsZero() {
		end := time.Now().Add(d)
		h.until.CompareAndSwap(until, &end)
	}
}

// holds reports whether answers are on hold.
func (h *Hold) holds() bool {
	if h == nil {
		return false
	}
	until := h.until.Load()
	return until != nil && (until.IsZero() || time.Now().Before(*until))
}

const (
	// maxHold bounds how long an answer is on hold: longer than Settle and the
	// start of a server take on a busy machine, but no longer than a session's
	// queue lasts at a megabyte in two seconds.
	maxHold = 2 * time.Second

	// holdStep is how often a held answer checks whether the hold has ended.
	holdStep = 5 * time.Millisecond

	// idleTime is how long a stopping HTTP server may take to close its idle
	// connections, which it does first.
	idleTime = 20 * time.Millisecond

	// returnTime is how long after the answer to its last poll a client is
	// expected back; a client that takes longer may have gone.
	returnTime = time.Second
)

// Wait waits while answers are on hold, or until ctx ends. Serve calls it; it is for
// answers that something else writes.
func (x Exchange) Wait(ctx context.Context) { x.hold(ctx) }

// hold waits while answers are on hold.
func (x Exchange) hold(ctx context.Context) {
	if !x.Hold.holds() {
		return
	}
	tick := time.NewTicker(holdStep)
	defer tick.Stop()
	for begin := time.Now(); x.Hold.holds() && time.Since(begin) < maxHold; {
		select {
		case <-x.Ending:
			x.pause(ctx)
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// pause lets the stopping server close its idle connections, because the client
// might send its next request on one of them.
func (x Exchange) pause(ctx context.Context) {
	timer := time.NewTimer(idleTime)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// AwaitEnded returns when no poll is at an HTTP server whose answers are on
// hold, or after limit. It is for a server that an even later one is about to
// replace: those polls will be answered soon, and their clients will return.
func (s *Server) AwaitEnded(limit time.Duration) {
	s.await(limit, func(session *Session) bool {
		return !session.held && (session.pending == nil || !session.pending.hold.holds())
	})
}

// Settle returns when every client on polling that is expected back has a poll
// here, or after limit. With answers on hold, their HTTP server can then end
// safely: none of its connections is between two requests, where it would be
// closed.
func (s *Server) Settle(limit time.Duration) {
	s.await(limit, func(session *Session) bool {
		return session.conn != nil || session.pending != nil || session.held || session.state != stateOpen ||
			time.Since(session.answered) >= returnTime
	})
}

// await returns when holds is true for all sessions, or after limit. It calls
// holds with the session's mu held.
func (s *Server) await(limit time.Duration, holds func(*Session) bool) {
	tick := time.NewTicker(holdStep)
	defer tick.Stop()
	for begin := time.Now(); time.Since(begin) < limit; <-tick.C {
		if !slices.ContainsFunc(s.Sessions(), func(session *Session) bool {
			session.mu.Lock()
			defer session.mu.Unlock()
			return !holds(session)
		}) {
			return
		}
	}
}
