package hub

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// maxAcquire bounds how many channels of a session the broker is told of at once.
const maxAcquire = 16

var errRestarted = errors.New("the offsets have begun again since")

// Adopt makes a session of another machine one of this hub, whose client is away. The
// other machine must have released it, or be gone. Its client can come back for the time
// within; position is the ID of the last message that it has received, or "". The hub
// must have a SessionStore.
func (h *Hub[P]) Adopt(ctx context.Context, r *SessionRecord, position string, within time.Duration) error {
	acquired, err := h.acquireAll(ctx, r)
	if err == nil {
		err = h.stream(r.App).reach(ctx, r.reached(position))
	}
	if err == nil {
		err = h.adopt(r, within)
	}
	if err != nil {
		for _, n := range acquired {
			h.interests.release(n) //nolint:contextcheck // nobody waits for the calls that it begins
		}
	}
	return err
}

// reached returns the newest position that the session or its client knows of.
func (r *SessionRecord) reached(position string) *Position {
	newest := &Position{r.Epoch, r.newest()}
	if p, ok := ParseID(position); ok && p.isOf(r.App) && (p.Epoch != r.Epoch || p.Offset > newest.Offset) {
		return &p
	}
	return newest
}

// acquireAll has the hub know the history of all channels of a session. It returns those
// that are to be released after an error.
func (h *Hub[P]) acquireAll(ctx context.Context, r *SessionRecord) (acquired []name, err error) {
	var mu sync.Mutex // guards acquired and errs
	var errs []error
	var calls sync.WaitGroup
	slots := make(chan struct{}, maxAcquire)
	for _, c := range r.Channels {
		n := name{r.App, c.Channel}
		if h.interests.tryAcquire(n) {
			mu.Lock()
			acquired = append(acquired, n)
			mu.Unlock()
			continue
		}
		slots <- struct{}{}
		calls.Go(func() {
			defer func() { <-slots }()
			err := h.interests.acquire(ctx, n)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
			} else {
				acquired = append(acquired, n)
			}
		})
	}
	calls.Wait()
	return acquired, errors.Join(errs...)
}

// adopt is Adopt for channels whose history the hub knows.
func (h *Hub[P]) adopt(r *SessionRecord, within time.Duration) error {
	stream := h.stream(r.App)
	stream.mu.Lock()
	at, era := stream.position(), stream.era
	stream.mu.Unlock()
	if r.Epoch != "" && r.Epoch != at.Epoch {
		return errRestarted
	}
	if err := r.check(at.Offset); err != nil {
		return fmt.Errorf("the record of the session: %w", err)
	}
	h.sessions.mu.Lock()
	is := h.sessions.byPID.Get(r.PID) != nil
	h.sessions.mu.Unlock()
	if is {
		return errors.New("the session is here already")
	}
	s := h.revive(r.SessionSnapshot)
	s.track.era = era
	s.within = within
	s.version.Store(r.Version)
	s.saved.Store(time.Now().Unix())
	h.enlist(s, within)
	return nil
}

// Confirm ends a session here if the store does not have it as that of this machine, whose
// ID is machine: another one has taken it while this one did not answer, and may have
// changed or ended it. After an error, nothing is known, and the session stays; if another
// machine has it, it ends everywhere once the store answers.
func (h *Hub[P]) Confirm(ctx context.Context, app, pid, machine string) error {
	h.sessions.mu.Lock()
	s := h.sessions.byPID.Get(pid)
	h.sessions.mu.Unlock()
	if s == nil || s.stream.app != app || s.saved.Load() == 0 {
		return nil
	}
	_, at, err := h.saver.store.FindSession(ctx, app, pid)
	switch {
	case err != nil:
		s.doubtful.Store(true)
	case at == machine:
	case at != "" || s.record() != nil: // see saveJoin
		s.yield()
	}
	return err
}

// Release ends a session here for another machine, which continues it, and returns it
// as it is; or nil if there is no such session, or owns says that it is not that of the
// client. replaced is the subscriber that the hub took for connected until now, if there
// was one. It gets nothing any longer.
func (h *Hub[P]) Release(app, pid string, owns func(Owner) bool) (r *SessionRecord, replaced Subscriber[P]) {
	h.sessions.mu.Lock()
	s := h.sessions.byPID.Get(pid)
	h.sessions.mu.Unlock()
	if s == nil || s.stream.app != app {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || !owns(s.owner) {
		return nil, nil
	}
	if s.member != nil {
		replaced = s.member.to
		s.leave(s.member)
	} else if h.sessions.isOverdue(s) {
		s.end()
		return nil, nil
	}
	s.stream.mu.Lock()
	at, era := s.stream.position(), s.stream.era
	s.stream.mu.Unlock()
	if s.track.era == era {
		r = s.newRecord(s.track, at.Epoch)
		r.Channels = s.pinned()
	}
	s.saved.Store(0) // it is no longer this machine's
	s.end()
	return r, replaced
}
