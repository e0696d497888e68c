package hub

import (
	"errors"
	"time"
)

// ErrStopped is returned for messages that are published after Close.
var ErrStopped = errors.New("the hub is closed")

// A Snapshot is what a hub with a Local broker knows of its messages and of the
// sessions that are away. A hub of the next process continues with it.
type Snapshot struct {
	Streams  []StreamSnapshot
	Sessions []SessionSnapshot
}

// A StreamSnapshot is the messages of one app.
type StreamSnapshot struct {
	App      string
	Position Position
	Floor    uint64
	Channels []ChannelSnapshot
}

// A ChannelSnapshot is the history of one channel.
type ChannelSnapshot struct {
	Channel  string
	Floor    uint64
	Messages []MessageSnapshot
}

// A MessageSnapshot is a message in the history.
type MessageSnapshot struct {
	Offset uint64
	Age    time.Duration
	Left   time.Duration // until it is too old
	Except string
	Text   []byte // see Codec
}

// A SessionSnapshot is a session that is away.
type SessionSnapshot struct {
	App, ID, PID, Arrived string

	User string // of the owner

	Left     time.Duration // until it is too late to come back
	Start    uint64
	HasLeft  bool
	Blurred  uint64
	Expelled uint64
	Channels []SubscriptionSnapshot
	Replays  []ReplaySnapshot
}

// A SubscriptionSnapshot is a channel that a session was in.
type SubscriptionSnapshot struct {
	Channel string
	Since   uint64
}

// A ReplaySnapshot is what one subscribe replayed.
type ReplaySnapshot struct {
	Channel string
	At      uint64
	Offsets []byte
}

// Snapshot returns what the hub knows, or nil if its broker is not Local. The
// hub must be closed, and its members have left.
func (h *Hub[P]) Snapshot() *Snapshot {
	if _, ok := h.broker.(Local); !ok {
		return nil
	}
	snapshot, now := new(Snapshot), time.Since(h.began)
	streams, eras := make(map[*stream[P]]*StreamSnapshot), make(map[*stream[P]]uint32)
	h.streamsMu.RLock()
	for _, s := range h.streams.All() {
		s.mu.Lock()
		streams[s] = &StreamSnapshot{App: s.app, Position: s.position(), Floor: s.floor.Load()}
		eras[s] = s.era
		s.mu.Unlock()
	}
	h.streamsMu.RUnlock()
	for c := range h.records() {
		if s := streams[c.stream]; s != nil {
			if r := c.snapshot(now, eras[c.stream]); r != nil {
				s.Channels = append(s.Channels, *r)
			}
		}
	}
	for _, s := range streams {
		snapshot.Streams = append(snapshot.Streams, *s)
	}
	h.sessions.mu.Lock()
	defer h.sessions.mu.Unlock()
	for stream := range h.sessions.away {
		for e := stream.away.Front(); e != nil; e = e.Next() {
			// The client of a session from before the offsets began again cannot recover.
			if s := e.Value.(*Session[P]); streams[stream] != nil && s.track.era == eras[stream] {
				snapshot.Sessions = append(snapshot.Sessions, s.snapshot())
			}
		}
	}
	return snapshot
}

// snapshot returns nil for a channel without history in the current era.
func (c *channel[P]) snapshot(now time.Duration, era uint32) *ChannelSnapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ring == nil || c.ring.era != era {
		return nil
	}
	c.expire(now)
	snapshot := &ChannelSnapshot{Channel: c.name.channel, Floor: c.ring.floor}
	for _, k := range c.ring.entries() {
		snapshot.Messages = append(snapshot.Messages, MessageSnapshot{
			Offset: k.offset, Age: now - k.at, Left: k.until - now, Except: c.ring.except(k), Text: c.ring.text(k),
		})
	}
	return snapshot
}

// snapshot is called for a session that is away, while nothing else uses it.
func (s *Session[P]) snapshot() SessionSnapshot {
	snapshot := s.describe(s.track)
	snapshot.Left, snapshot.Channels = time.Until(s.until), s.pinned()
	return snapshot
}

// Restore continues with a snapshot that was taken some time ago, and that Check
// accepts. It is called before anything else; known says which apps still
// exist. It returns how many messages and sessions were not too old.
func (h *Hub[P]) Restore(snapshot *Snapshot, elapsed time.Duration, known func(app string) bool) (messages, sessions int) {
	local, ok := h.broker.(Local)
	if !ok {
		return 0, 0
	}
	elapsed = max(0, elapsed) // the clock may have been set back
	now := time.Since(h.began)
	for _, from := range snapshot.Streams {
		if !known(from.App) || !from.Position.isOf(from.App) {
			continue
		}
		local.Restore(from.App, from.Position)
		s := h.stream(from.App)
		s.floor.Store(from.Floor)
		for _, channel := range from.Channels {
			s.restore(channel, elapsed, now)
		}
	}
	for _, from := range snapshot.Sessions {
		if from.Left > elapsed && known(from.App) {
			h.restoreSession(from, elapsed)
			sessions++
		}
	}
	h.sweepHistory() // what only sessions that are gone have kept
	h.history.bound()
	return h.History().Messages, sessions
}

// restore makes the record of a channel.
func (s *stream[P]) restore(from ChannelSnapshot, elapsed, now time.Duration) {
	c := s.channel(from.Channel)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ring = &ring[P]{floor: from.Floor, era: s.era}
	for _, m := range from.Messages {
		if m.Left <= elapsed && c.ring.len() == 0 { // see expire
			c.ring.floor = m.Offset
			continue
		}
		if _, err := s.hub.codec.Payload(m.Text, Position{s.epoch, m.Offset}.ID()); err != nil { // of another version
			c.evict(c.ring.len())
			c.ring.floor = m.Offset
			continue
		}
		c.add(kept{offset: m.Offset, at: now - elapsed - m.Age, until: now + m.Left - elapsed}, m.Except, m.Text)
	}
}

func (h *Hub[P]) restoreSession(from SessionSnapshot, elapsed time.Duration) {
	h.enlist(h.revive(from), from.Left-elapsed)
}

// revive makes a session that is away of a snapshot. enlist must follow.
func (h *Hub[P]) revive(from SessionSnapshot) *Session[P] {
	stream := h.stream(from.App)
	s := &Session[P]{id: from.ID, pid: from.PID, stream: stream, arrived: from.Arrived, owner: FormerOwner(from.User)}
	s.track = &track[P]{session: s, start: from.Start, era: stream.era, left: from.HasLeft, blurred: from.Blurred, expelled: from.Expelled}
	for _, r := range from.Replays {
		s.track.replays = append(s.track.replays, replay[P]{r.Channel, r.At, r.Offsets})
	}
	for _, sub := range from.Channels {
		c := stream.channel(sub.Channel)
		for !c.enter() {
			c = stream.channel(sub.Channel)
		}
		c.pins++
		c.mu.Unlock()
		s.pins = append(s.pins, pin[P]{c, sub.Since})
	}
	return s
}

// enlist makes a revived session one that its client can come back to.
func (h *Hub[P]) enlist(s *Session[P], left time.Duration) {
	h.sessions.mu.Lock()
	h.sessions.byPID.Set(s.pid, s)
	h.sessions.mu.Unlock()
	h.sessions.park(s, left)
}
