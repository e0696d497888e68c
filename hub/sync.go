package hub

import "context"

// A syncCall asks the broker where one app stands.
type syncCall struct {
	ended chan struct{}
	err   error // set before ended is closed
}

// Stand implements Handler.
func (h *Hub[P]) Stand(app string, at Position) {
	s := h.stream(app)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stand(at)
}

// reach has the hub know where the app stands if a position, which may be nil, is not
// before that: its client may know more than this machine, which gets messages late if it
// was cut off from the broker, and not at all those of channels without subscribers here.
func (s *stream[P]) reach(ctx context.Context, p *Position) error {
	if !s.isBehind(p) {
		return nil
	}
	return s.hub.interests.sync(ctx, s.app)
}

// isBehind reports whether the hub may not know yet of a message at that position.
func (s *stream[P]) isBehind(p *Position) bool {
	if s.hub.interests == nil || p == nil || !p.isOf(s.app) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return p.Epoch != s.epoch || p.Offset > s.last
}

// sync calls the broker's Sync. A call serves all who ask before it begins.
func (i *interests) sync(ctx context.Context, app string) error {
	i.mu.Lock()
	call, runs := i.syncs[app]
	if call == nil {
		call = &syncCall{ended: make(chan struct{})}
		i.syncs[app] = call
	}
	if !runs {
		i.calls.Go(func() { i.syncAll(app) })
	}
	i.mu.Unlock()
	select {
	case <-call.ended:
		return call.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// syncAll makes calls until nobody waits for another one.
func (i *interests) syncAll(app string) {
	for {
		i.mu.Lock()
		call := i.syncs[app]
		if call != nil {
			i.syncs[app] = nil
		} else {
			delete(i.syncs, app)
		}
		i.mu.Unlock()
		if call == nil {
			return
		}
		call.err = guard(func() error { return i.broker.Sync(i.ctx, app) })
		close(call.ended)
	}
}
