package engineio

import (
	"context"
	"slices"
	"sync/atomic"
	"time"
)

// A Hold has answers to requests wait while an HTTP server takes over from
// another. Otherwise they would tell clients to connect anew while the kernel
// may hand connections to a listener that is about to close, which resets them.
// The zero value holds nothing, and neither does nil. All methods may be called
// concurrently.
type Hold struct {
	// until is when the hold ends, the zero time if that is not known; nil
	// where nothing is held.
	until atomic.Pointer[time.Time]
}

// Begin holds answers from now on.
func (h *Hold) Begin() { h.until.Store(new(time.Time)) }

// EndIn ends what Begin began, after a time.
func (h *Hold) EndIn(d time.Duration) {
	if until := h.until.Load(); until != nil && until.IsZero() {
		end := time.Now().Add(d)
		h.until.CompareAndSwap(until, &end)
	}
}

// holds says whether answers are held.
func (h *Hold) holds() bool {
	if h == nil {
		return false
	}
	until := h.until.Load()
	return until != nil && (until.IsZero() || time.Now().Before(*until))
}

const (
	// maxHold bounds how long an answer is held: longer than Settle and the
	// start of a server take on a busy machine, and no longer than a session's
	// queue has room for at a megabyte in two seconds.
	maxHold = 2 * time.Second

	// holdStep is how often a held answer looks whether it may go.
	holdStep = 5 * time.Millisecond

	// idleTime is how long an HTTP server that is ending may take to close its
	// idle connections. It begins with that.
	idleTime = 20 * time.Millisecond

	// returnTime is how long after the answer to its last poll a client is
	// expected to be back; one that takes longer may have gone.
	returnTime = time.Second
)

// hold waits while answers are held.
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

// pause lets the server that is ending close its idle connections, on one of
// which the client might answer what it is about to get.
func (x Exchange) pause(ctx context.Context) {
	timer := time.NewTimer(idleTime)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// AwaitEnded returns when no poll is at an HTTP server whose answers are on hold,
// or at the limit. It is for one that a still later server is about to take over
// from: those polls are about to be answered, and their clients to come back.
func (s *Server) AwaitEnded(limit time.Duration) {
	s.await(limit, func(session *Session) bool {
		return !session.held && (session.pending == nil || !session.pending.hold.holds())
	})
}

// Settle returns when every client on polling that is expected back has a poll
// here, or at the limit. With answers on hold it is then safe to end their HTTP
// server: none of its connections is between two requests, where it would be
// closed.
func (s *Server) Settle(limit time.Duration) {
	s.await(limit, func(session *Session) bool {
		return session.conn != nil || session.pending != nil || session.held || session.state != stateOpen ||
			time.Since(session.answered) >= returnTime
	})
}

// await returns when something holds for all sessions, each with its mu, or at
// the limit.
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
