package hub

// Lost implements Handler. Clients that can come back, and may have missed what is
// lost, begin again.
func (h *Hub[P]) Lost(app, channel string, at Position) {
	s := h.stream(app)
	s.mu.Lock()
	s.stand(at)
	c := h.find(name{app, channel})
	if c == nil || !c.enter() {
		s.raise(at.Offset)
		s.mu.Unlock()
		return
	}
	c.skip(at.Offset)
	members := make([]*Member[P], len(c.subs))
	for i, sub := range c.subs {
		members[i] = sub.member
	}
	c.mu.Unlock()
	s.mu.Unlock()
	var sessions []*Session[P]
	for _, m := range members {
		if session := m.session(); session != nil {
			sessions = append(sessions, session)
		}
	}
	h.interrupt(sessions)
}

// Moved implements Handler. Clients that can come back begin again, because the broker
// may have lost messages with the epoch that has ended.
func (h *Hub[P]) Moved(app, epoch string) {
	s := h.stream(app)
	s.mu.Lock()
	s.stand(Position{Epoch: epoch})
	s.mu.Unlock()
	var sessions []*Session[P]
	h.sessions.mu.Lock()
	for _, session := range h.sessions.byPID.All() {
		if session.stream == s {
			sessions = append(sessions, session)
		}
	}
	h.sessions.mu.Unlock()
	h.interrupt(sessions)
}

// interrupt ends the sessions whose clients are connected. Those that are away end when
// their clients come back.
func (h *Hub[P]) interrupt(sessions []*Session[P]) {
	var subscribers []Subscriber[P]
	for _, s := range sessions {
		s.mu.Lock()
		if m := s.member; m != nil && !s.ended {
			s.end()
			subscribers = append(subscribers, m.to)
		}
		s.mu.Unlock()
	}
	if h.interrupted == nil || len(subscribers) == 0 {
		return
	}
	h.interrupts.Go(func() {
		for _, to := range subscribers {
			h.interrupted(to)
		}
	})
}
