package hub

import (
	"context"
	"errors"
	"sync"
	"time"
)

// A saver saves sessions that have changed, and drops those that have ended, where
// nobody waits for it.
type saver[P any] struct {
	hub   *Hub[P]
	store SessionStore
	wake  chan struct{} // holds one

	mu      sync.Mutex               // guards changed; locked after everything else
	changed map[*Session[P]]struct{} // sessions are removed once they are saved or dropped
}

func newSaver[P any](h *Hub[P], store SessionStore) *saver[P] {
	return &saver[P]{hub: h, store: store, wake: make(chan struct{}, 1), changed: make(map[*Session[P]]struct{})}
}

// changes has the session saved soon, or dropped if it has ended. It does not block.
func (s *Session[P]) changes() {
	v := s.stream.hub.saver
	if v == nil {
		return
	}
	v.mu.Lock()
	v.changed[s] = struct{}{}
	v.mu.Unlock()
	v.wakeUp()
}

// run runs until the hub is closed. What has changed by then is still saved.
func (v *saver[P]) run() {
	refresh := time.NewTicker(recordRefresh / 10)
	defer refresh.Stop()
	for {
		select {
		case <-v.wake:
		case <-refresh.C:
			v.refresh()
		case <-v.hub.closed:
			v.save()
			return
		}
		if !v.save() {
			select {
			case <-time.After(savePause):
				v.wakeUp()
			case <-v.hub.closed:
			}
		}
	}
}

func (v *saver[P]) wakeUp() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// refresh marks the sessions whose records are old.
func (v *saver[P]) refresh() {
	h, before := v.hub, time.Now().Add(-recordRefresh).Unix()
	h.sessions.mu.Lock()
	defer h.sessions.mu.Unlock()
	for _, s := range h.sessions.byPID.All() {
		if at := s.saved.Load(); at > 0 && at <= before {
			s.changes()
		}
	}
}

// save saves what has changed. It returns false if something could not be saved.
func (v *saver[P]) save() bool {
	v.mu.Lock()
	changed := v.changed
	v.changed = make(map[*Session[P]]struct{})
	v.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), saveTimeout)
	defer cancel()
	var saves sync.WaitGroup
	failed := make(chan *Session[P], len(changed))
	slots := make(chan struct{}, maxSaves)
	for s := range changed {
		slots <- struct{}{}
		saves.Go(func() {
			defer func() { <-slots }()
			if err := v.saveOne(ctx, s); err != nil && !errors.Is(err, ErrTaken) {
				failed <- s
			}
		})
	}
	saves.Wait()
	close(failed)
	ok := true
	for s := range failed {
		ok = false
		v.mu.Lock()
		v.changed[s] = struct{}{}
		v.mu.Unlock()
	}
	return ok
}

func (v *saver[P]) saveOne(ctx context.Context, s *Session[P]) error {
	r := s.record()
	if r != nil {
		return v.put(ctx, s, r)
	}
	if s.saved.Load() == 0 {
		return nil
	}
	err := v.store.DropSession(ctx, s.stream.app, s.pid)
	if err == nil {
		s.saved.Store(0)
	}
	return err
}

// put saves a record of a session, which ends here if another machine has taken it.
func (v *saver[P]) put(ctx context.Context, s *Session[P], r *SessionRecord) error {
	err := v.store.SaveSession(ctx, r, s.within+recordKeep)
	switch {
	case err == nil:
		s.saved.Store(time.Now().Unix())
		s.doubtful.Store(false)
	case errors.Is(err, ErrTaken):
		if s.doubtful.Load() && s.isConnected() {
			if err := v.discard(ctx, s); err != nil {
				return err
			}
		}
		s.yield()
	}
	return err
}

// discard has the store forget a session that two machines have continued: its client is
// here, and its position says nothing about what it has got of the other's channels.
func (v *saver[P]) discard(ctx context.Context, s *Session[P]) error {
	r, machine, err := v.store.FindSession(ctx, s.stream.app, s.pid)
	if err != nil || r == nil {
		return err
	}
	taken, err := v.store.TakeSession(ctx, s.stream.app, s.pid, machine)
	if err != nil || !taken {
		return err
	}
	return v.store.DropSession(ctx, s.stream.app, s.pid)
}

// yield ends a session that another machine has taken, or ended after that.
func (s *Session[P]) yield() {
	s.saved.Store(0)
	s.stream.hub.interrupt([]*Session[P]{s})
	s.endAway()
}

// record returns what the store keeps of a session; nil if it has ended, or can no
// longer be continued.
func (s *Session[P]) record() *SessionRecord {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil
	}
	if m := s.member; m != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.record()
	}
	s.stream.mu.Lock()
	epoch, era := s.stream.epoch, s.stream.era
	s.stream.mu.Unlock()
	if s.track.era != era {
		return nil
	}
	r := s.newRecord(s.track, epoch)
	r.Channels = s.pinned()
	return r
}

// pinned returns the channels of a session that is away. The caller holds mu.
func (s *Session[P]) pinned() (channels []SubscriptionSnapshot) {
	for _, p := range s.pins {
		channels = append(channels, SubscriptionSnapshot{p.channel.name.channel, p.since})
	}
	return channels
}
