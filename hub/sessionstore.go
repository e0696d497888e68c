package hub

import (
	"context"
	"errors"
	"slices"
	"time"
)

// ErrTaken is returned for a session that another machine has taken.
var ErrTaken = errors.New("the session is another machine's")

// A SessionStore keeps sessions for the other machines of an Interested broker, which
// implements it if it can. A session's machine saves it before its client is told of a
// subscription: a machine that is killed saves nothing. Calls for one session can
// overlap.
type SessionStore interface {
	// SaveSession keeps a session, for a time, as one of this machine. An older version
	// than the one that is kept changes nothing. The error is ErrTaken if another
	// machine has the session.
	SaveSession(ctx context.Context, r *SessionRecord, keep time.Duration) error

	// DropSession forgets a session of this machine. It does nothing to one that
	// another machine has taken.
	DropSession(ctx context.Context, app, pid string) error

	// FindSession returns a session and the ID of the machine that has it, or nil if
	// there is none.
	FindSession(ctx context.Context, app, pid string) (r *SessionRecord, machine string, err error)

	// TakeSession makes a session one of this machine. It returns false if it is no
	// longer one of the machine from.
	TakeSession(ctx context.Context, app, pid, from string) (bool, error)
}

// A SessionRecord is what other machines need of a session to continue it. Its Left is
// not used.
type SessionRecord struct {
	SessionSnapshot

	Epoch   string // that the offsets belong to; "" if there were no messages yet
	Version uint64 // increases with each record of the session
}

const (
	// recordKeep is for how much longer than its client can be away the record of a
	// session is kept. recordRefresh is how old a record becomes before it is saved
	// again.
	recordKeep    = 20 * time.Minute
	recordRefresh = 10 * time.Minute

	// saveTimeout bounds a save that nobody waits for, and savePause is the pause
	// after one that failed.
	saveTimeout = 5 * time.Second
	savePause   = time.Second

	// maxSaves bounds the saves at the same time that nobody waits for.
	maxSaves = 64
)

// record returns what the store keeps of the member's session, or nil if that is of no
// use: the epoch has ended in which it began, or a replay is on its way, of which nobody
// could tell what the client has received. The caller holds mu.
func (m *Member[P]) record() *SessionRecord {
	stream, t := m.stream, m.track
	stream.mu.Lock()
	at, era := stream.position(), stream.era
	stream.mu.Unlock()
	if t.era != era || t.replaying > 0 {
		return nil
	}
	r := t.session.newRecord(t, at.Epoch)
	for _, sub := range m.subs {
		if sub != nil {
			r.Channels = append(r.Channels, SubscriptionSnapshot{sub.channel.name.channel, sub.since})
		}
	}
	r.Channels = append(r.Channels, t.joining...)
	return r
}

// newRecord returns a record without channels.
func (s *Session[P]) newRecord(t *track[P], epoch string) *SessionRecord {
	return &SessionRecord{SessionSnapshot: s.describe(t), Epoch: epoch, Version: s.version.Add(1)}
}

// describe returns a snapshot without channels, and without the time that is left.
func (s *Session[P]) describe(t *track[P]) SessionSnapshot {
	snapshot := SessionSnapshot{
		App: s.stream.app, ID: s.id, PID: s.pid, Arrived: s.arrived,
		Start: t.start, HasLeft: t.left, Blurred: t.blurred, Expelled: t.expelled,
	}
	if s.owner != nil {
		snapshot.User = s.owner.User()
	}
	for _, r := range t.replays {
		snapshot.Replays = append(snapshot.Replays, ReplaySnapshot{r.channel, r.at, r.offsets})
	}
	return snapshot
}

// isStored reports whether the member has a session that is kept in a store. The caller
// holds mu.
func (m *Member[P]) isStored() bool {
	return m.track != nil && m.track.session != nil && m.stream.hub.saver != nil
}

// saveJoin saves the member's session as one that is in a channel which the member is
// about to join, or drops it until the member has got a replay. joined must be called
// afterwards; it saves the session again if that is necessary. The caller holds mu, which
// is released meanwhile.
func (m *Member[P]) saveJoin(ctx context.Context, channel string, from From) (joined func(), err error) {
	t, v := m.track, m.stream.hub.saver
	s := t.session
	m.stream.mu.Lock()
	since := m.stream.last
	m.stream.mu.Unlock()
	if from != (From{}) {
		t.replaying++
	} else {
		t.joining = append(t.joining, SubscriptionSnapshot{channel, since})
	}
	joined = func() {
		if from != (From{}) {
			t.replaying--
		} else {
			t.joining = slices.DeleteFunc(t.joining, func(s SubscriptionSnapshot) bool { return s.Channel == channel })
		}
		if m.stream == nil || from != (From{}) {
			s.changes()
		} else if i := m.find(channel); i < 0 || m.subs[i].since != since {
			s.changes()
		}
	}
	r := m.record()
	m.mu.Unlock()
	defer m.mu.Lock()
	if r == nil {
		return joined, v.store.DropSession(ctx, s.stream.app, s.pid)
	}
	return joined, v.put(ctx, s, r)
}
