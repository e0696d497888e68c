package hub

import (
	"cmp"
	"slices"
	"time"
)

// Recovery is the outcome of an attempt to come back as a session.
type Recovery string

// The outcomes. Only Recovered is a success.
const (
	Recovered Recovery = "recovered"

	// NoSession: the private ID is unknown, of another app, or of a session that
	// has ended, for example because its client was away for too long.
	NoSession Recovery = "no_session"

	// NoPosition: the client cannot have got the position that it sent in this
	// session.
	NoPosition Recovery = "no_position"

	// Restarted: the offsets began again meanwhile.
	Restarted Recovery = "restarted"

	// Expired: the history no longer has all that the client has missed.
	Expired Recovery = "expired"

	// TooMany: it has missed more than is replayed at once.
	TooMany Recovery = "too_many"

	// OverBudget: the client gets too much replayed per minute.
	OverBudget Recovery = "over_budget"

	// Forbidden: the session is another user's, or may no longer be in one of its
	// channels, or was taken out of one and its client may not know.
	Forbidden Recovery = "forbidden"
)

// Recoveries are all outcomes.
func Recoveries() []Recovery {
	return []Recovery{Recovered, NoSession, NoPosition, Restarted, Expired, TooMany, OverBudget, Forbidden}
}

// MaxReplay is how many messages are replayed at once.
const MaxReplay = 1000

// A Return is a client that comes back.
type Return[P any] struct {
	App string

	// PID and Position are what the client says. Position is the ID of the last
	// message that it has received, or "".
	PID, Position string

	// To gets the session's messages from now on. Its ID must be the session's
	// once Answer is called.
	To Subscriber[P]

	// Owns reports whether the client is who the session belongs to. If it is not,
	// the session stays as it is. It must not block or call the hub. nil is for all.
	Owns func(owner Owner) bool

	// Allow reports whether the client may have a session of its own with that
	// owner, which is in these channels. If it may not, the session ends. It must
	// not block or call the hub. nil allows all.
	Allow func(owner Owner, channels []string) bool

	// Owner is the session's from now on.
	Owner Owner

	// Answer is called if the client has recovered. It sends what the client has
	// missed before anything else that is queued. It must not block.
	Answer func(s *Session[P], missed []P)

	// Replaced is set to the subscriber that the hub took for connected until
	// now, if there was one. It gets nothing any longer.
	Replaced Subscriber[P]
}

// Recover makes a client that comes back a member again, in the channels of its
// session, and gives it what it has missed: all of it, or nothing. If anything
// is missing, the session ends, and the client must begin again. A client that
// knows the PID of another's session changes nothing about it.
func (h *Hub[P]) Recover(r *Return[P]) (*Member[P], Recovery) {
	h.sessions.mu.Lock()
	s := h.sessions.byPID.Get(r.PID)
	h.sessions.mu.Unlock()
	if s == nil || s.stream.app != r.App {
		return nil, NoSession
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, NoSession
	}
	if r.Owns != nil && !r.Owns(s.owner) {
		return nil, Forbidden
	}
	if s.member != nil {
		r.Replaced = s.member.to
		s.leave(s.member)
	} else if h.sessions.isOverdue(s) {
		s.end()
		return nil, NoSession
	}
	if r.Allow != nil && !r.Allow(s.owner, s.channels()) {
		s.end()
		return nil, Forbidden
	}
	s.owner = r.Owner
	m := &Member[P]{stream: s.stream, to: r.To}
	m.mu.Lock()
	defer m.mu.Unlock()
	outcome := s.recover(m, r)
	if outcome != Recovered {
		s.end()
		m.stream = nil
		return nil, outcome
	}
	s.changes()
	return m, Recovered
}

// channels returns the channels of a session that is away. The caller holds mu.
func (s *Session[P]) channels() []string {
	channels := make([]string, len(s.pins))
	for i, p := range s.pins {
		channels[i] = p.channel.name.channel
	}
	return channels
}

func (r *sessions[P]) isOverdue(s *Session[P]) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !time.Now().Before(s.until)
}

// owed is a message that a client has missed, and its place in the order of
// what it is sent: a replay follows the message at which it was asked for.
type owed[P any] struct {
	at      uint64
	replay  int // from 1; 0 for a live message
	channel *channel[P]
	offset  uint64
	text    []byte
}

// recover does Recover for a session that is away. The caller holds mu, and the
// member's.
func (s *Session[P]) recover(m *Member[P], r *Return[P]) Recovery {
	stream := s.stream
	stream.mu.Lock()
	defer stream.mu.Unlock()
	if s.track.era != stream.era {
		return Restarted
	}
	place, ok := s.track.find(r.Position, stream.position())
	if !ok {
		return NoPosition
	}
	if place.offset < s.track.expelled {
		return Forbidden
	}
	missed, outcome := s.missed(place)
	if outcome != Recovered {
		return outcome
	}
	h := stream.hub
	size := 0
	for _, o := range missed {
		size += len(o.text)
	}
	most := int(h.maxReplay.Load())
	if size > most {
		return TooMany
	}
	if !s.track.pay(size, most) {
		return OverBudget
	}
	h.sessions.mu.Lock()
	h.sessions.unpark(s)
	h.sessions.mu.Unlock()
	s.track.replays = s.track.replays[place.replays:]
	s.member, m.track, s.track = m, s.track, nil
	for _, p := range s.pins {
		p.channel.mu.Lock()
		m.enter(&subscription[P]{member: m, since: p.since}, p.channel)
		p.channel.pins--
		p.channel.mu.Unlock()
	}
	s.pins = nil
	payloads := make([]P, len(missed))
	for i, o := range missed {
		o.channel.mu.Lock()
		payloads[i] = o.channel.payload(o.offset, o.text)
		o.channel.mu.Unlock()
	}
	h.replayed.Add(uint64(len(missed)))
	r.Answer(s, payloads)
	return Recovered
}

// missed returns what a client at that place is owed, in order. The caller holds
// mu and the stream's.
func (s *Session[P]) missed(at place) ([]owed[P], Recovery) {
	var all []owed[P]
	now := time.Since(s.stream.hub.began)
	for _, p := range s.pins {
		c := p.channel
		c.mu.Lock()
		c.expire(now)
		r := c.history()
		after := max(p.since, at.offset)
		ok := r.floor <= after
		for _, k := range r.after(after) {
			if r.except(k) != s.id {
				all = append(all, owed[P]{at: k.offset, channel: c, offset: k.offset, text: r.text(k)})
			}
		}
		for i := at.replays; ok && i < len(s.track.replays); i++ {
			past := &s.track.replays[i]
			if past.channel != c.name.channel || past.at != p.since {
				continue // the client has left the channel since
			}
			for _, offset := range past.all() {
				if i == at.replays && offset <= at.within {
					continue
				}
				k, kept := r.at(offset)
				if !kept {
					ok = false
					break
				}
				all = append(all, owed[P]{at: past.at, replay: i + 1, channel: c, offset: offset, text: r.text(k)})
			}
		}
		c.mu.Unlock()
		if !ok {
			return nil, Expired
		}
		if len(all) > MaxReplay {
			return nil, TooMany
		}
	}
	slices.SortFunc(all, func(a, b owed[P]) int {
		switch {
		case a.at != b.at:
			return cmp.Compare(a.at, b.at)
		case a.replay != b.replay:
			return a.replay - b.replay
		}
		return cmp.Compare(a.offset, b.offset)
	})
	return all, Recovered
}
