package hub

import (
	"container/list"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/lean"
	"github.com/seed-c079cc48/caddy-realtime/internal/random"
)

// sessions are the subscribers that can come back, by their private IDs.
type sessions[P any] struct {
	mu    sync.Mutex // guards everything below, and the away lists; locked after everything else
	byPID lean.Map[string, *Session[P]]
	away  map[*stream[P]]struct{} // with sessions that are away
	count int                     // of them
	limit int                     // of them; 0 means no limit
}

// An awayList holds an app's sessions that are away, those that were away first
// in front.
type awayList[P any] struct{ list.List }

// A Session is a subscriber that can come back: what it is subscribed to, and
// what it is owed.
type Session[P any] struct {
	id     string // of the subscriber
	pid    string
	stream *stream[P]

	// owner is who the session belongs to; nil if nobody cares.
	owner Owner

	// arrived is the position that the client sent when the session began, which
	// is of an earlier one.
	arrived string

	within  time.Duration // for how long the client can be away
	version atomic.Uint64 // of the last record
	saved   atomic.Int64  // when it was last saved, in Unix seconds; 0: not, or no longer

	// doubtful means that the client has come back while the store could not say whether
	// another machine has the session.
	doubtful atomic.Bool

	mu     sync.Mutex // guards everything below; locked before a member's mu
	member *Member[P] // nil while away
	ended  bool
	track  *track[P] // while away; otherwise the member has it
	pins   []pin[P]

	// Guarded by the hub's sessions.mu.
	until   time.Time // the end of a session that is away
	element *list.Element
}

// A pin keeps the record of a channel for a session that is away.
type pin[P any] struct {
	channel *channel[P]
	since   uint64 // the subscription's
}

// pidLength is the length of a private ID.
const pidLength = 20

// IsPID reports whether a text can be a private ID.
func IsPID(text string) bool { return random.IsText(text, pidLength) }

// An Owner is who a session belongs to. The hub's user decides with it who can come
// back as the session.
type Owner interface {
	// User is what is left of the owner in a Snapshot.
	User() string
}

// A FormerOwner is an owner in a process before this one, by User.
type FormerOwner string

// User implements Owner.
func (o FormerOwner) User() string { return string(o) }

// Begin makes a member, which has no channels yet, one that can come back as a
// session. position is the one that its client sent, or "". within is for how long the
// client can be away.
func (h *Hub[P]) Begin(m *Member[P], position string, within time.Duration, owner Owner) *Session[P] {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &Session[P]{
		id: m.to.ID(), pid: random.Text(pidLength), stream: m.stream,
		arrived: position, within: within, member: m, owner: owner,
	}
	m.stream.mu.Lock()
	m.track = &track[P]{session: s, start: m.stream.last, era: m.stream.era}
	m.stream.mu.Unlock()
	h.sessions.mu.Lock()
	defer h.sessions.mu.Unlock()
	h.sessions.byPID.Set(s.pid, s)
	return s
}

// PID returns the session's private ID, a secret of its client.
func (s *Session[P]) PID() string { return s.pid }

func (s *Session[P]) isConnected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.member != nil
}

// ID returns the ID of the session's subscriber.
func (s *Session[P]) ID() string { return s.id }

// leave takes a session's member out of its channels, and keeps their records.
// The caller holds mu.
func (s *Session[P]) leave(m *Member[P]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s.track, m.track = m.track, nil
	s.pins = make([]pin[P], 0, m.len()+int(m.hidden))
	for _, sub := range m.subs {
		if sub != nil {
			s.pins = append(s.pins, pin[P]{sub.channel, sub.since})
			m.pin(sub)
		}
	}
	m.stream, m.subs, m.index, m.hidden = nil, nil, nil, 0
	s.member = nil
}

// Leave is Close for a member whose client may come back within a time. It does
// nothing more than Close if the member has no session.
func (m *Member[P]) Leave(within time.Duration) {
	s := m.session()
	if s == nil || within <= 0 {
		m.Close()
		return
	}
	if !s.park(m, within) {
		m.Close()
	}
}

// park makes the session one that is away, unless it has ended. Its member leaves, unless
// the client has come back on another connection.
func (s *Session[P]) park(m *Member[P], within time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
		return false
	case s.member == m:
		s.leave(m)
		s.stream.hub.sessions.park(s, within)
	}
	return true
}

// session returns the session of a member that can come back, or nil.
func (m *Member[P]) session() *Session[P] {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.track == nil {
		return nil
	}
	return m.track.session
}

// park adds a session to those that are away. sweepSessions keeps the limit.
func (r *sessions[P]) park(s *Session[P], within time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.until = time.Now().Add(within)
	s.element = s.stream.away.PushBack(s)
	if r.away == nil {
		r.away = make(map[*stream[P]]struct{})
	}
	r.away[s.stream] = struct{}{}
	r.count++
}

// unpark removes a session from those that are away, if it is one. The caller
// holds mu.
func (r *sessions[P]) unpark(s *Session[P]) {
	if s.element == nil {
		return
	}
	s.stream.away.Remove(s.element)
	s.element = nil
	if s.stream.away.Len() == 0 {
		delete(r.away, s.stream)
	}
	r.count--
}

// end makes the session one that its client cannot come back to. The caller
// holds mu.
func (s *Session[P]) end() {
	if s.ended {
		return
	}
	s.ended = true
	if s.saved.Load() != 0 {
		s.changes()
	}
	r := &s.stream.hub.sessions
	r.mu.Lock()
	r.byPID.Delete(s.pid)
	r.unpark(s)
	r.mu.Unlock()
	for _, p := range s.pins {
		p.channel.unpin()
	}
	s.pins, s.track = nil, nil
}

// Away returns how many of an app's sessions are away.
func (h *Hub[P]) Away(app string) int {
	s := h.stream(app)
	h.sessions.mu.Lock()
	defer h.sessions.mu.Unlock()
	return s.away.Len()
}

// AllAway returns how many sessions are away.
func (h *Hub[P]) AllAway() int {
	h.sessions.mu.Lock()
	defer h.sessions.mu.Unlock()
	return h.sessions.count
}

// EndAway ends those of an app's sessions that were away first, n of them.
func (h *Hub[P]) EndAway(app string, n int) {
	stream := h.stream(app)
	for ; n > 0; n-- {
		h.sessions.mu.Lock()
		first := stream.away.Front()
		h.sessions.mu.Unlock()
		if first == nil {
			return
		}
		first.Value.(*Session[P]).endAway()
	}
}

// EndAwayOf ends those of an app's sessions that are away and whose owner is one of
// these.
func (h *Hub[P]) EndAwayOf(app string, is func(Owner) bool) {
	stream := h.stream(app)
	h.sessions.mu.Lock()
	var away []*Session[P]
	for e := stream.away.Front(); e != nil; e = e.Next() {
		away = append(away, e.Value.(*Session[P]))
	}
	h.sessions.mu.Unlock()
	for _, s := range away {
		s.mu.Lock()
		if s.member == nil && is(s.owner) {
			s.end()
		}
		s.mu.Unlock()
	}
}

// endAway ends a session unless its client has come back.
func (s *Session[P]) endAway() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.member == nil {
		s.end()
	}
}

// sweepSessions ends sessions that were away for too long, and those that are
// too many: of the apps with most of them.
func (h *Hub[P]) sweepSessions() {
	now := time.Now()
	for {
		s := h.sessions.overdue(now)
		if s == nil {
			return
		}
		s.endAway()
	}
}

func (r *sessions[P]) overdue(now time.Time) *Session[P] {
	r.mu.Lock()
	defer r.mu.Unlock()
	var most *stream[P]
	for stream := range r.away {
		first := stream.away.Front().Value.(*Session[P])
		if !now.Before(first.until) {
			return first
		}
		if most == nil || stream.away.Len() > most.away.Len() {
			most = stream
		}
	}
	if r.limit > 0 && r.count > r.limit {
		return most.away.Front().Value.(*Session[P])
	}
	return nil
}
