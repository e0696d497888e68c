package redis

import (
	"context"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/cluster"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"go.uber.org/zap"
)

const (
	// sayBatch bounds the users in one script.
	sayBatch = 500

	// maxChanged bounds the changes that wait while Redis is away; with more, everything is
	// compared.
	maxChanged = 100_000

	// maxSayPause bounds the pause between attempts to tell Redis.
	maxSayPause = time.Second
)

// A place is a user in a channel of an app; without a user, the subscribers of this
// machine.
type place struct{ app, channel, user string }

// A register tells Redis what this machine has: which users are in which channels, and
// which channels have subscribers. There is one for each lane.
//
// It is told what has changed, and reads what is when it sends it; so after an error, or
// many changes, only the last state is sent. Redis has a mark of the machine in the lane.
// Where it has another one or none, it has lost its data, or the other machines have
// removed what this one had, because they took it for lost. Then, and after each
// interruption of the connection, everything is compared.
type register struct {
	broker *broker
	lane   *lane
	wake   chan struct{} // holds one: there is something to do

	// Only run uses these.
	mark    string
	lost    bool      // Redis had another mark
	settled time.Time // when it was last looked for copies that were doubtful

	mu      sync.Mutex         // guards everything below
	changed map[place]struct{} // what Redis is to be told
	compare bool               // everything is to be compared
}

// SharePresence implements cluster.Presence.
func (b *broker) SharePresence(m cluster.Members) {
	done, err := b.begin()
	if err != nil {
		return
	}
	defer done()
	b.members.Store(&m)
	b.work.Go(b.sweep)
}

// shared returns whose presence the broker carries, or nil.
func (b *broker) shared() cluster.Members {
	if m := b.members.Load(); m != nil {
		return *m
	}
	return nil
}

// PresenceChanged implements cluster.Presence.
func (b *broker) PresenceChanged(app, channel, user string) {
	done, err := b.begin()
	if err != nil {
		return
	}
	defer done()
	b.lane(app).register.note(place{app, channel, user})
}

// occupied notes that the machine has subscribers in a channel, or no longer has.
func (l *lane) occupied(app, channel string) {
	if l.broker.shared() != nil && !hub.IsHidden(channel) {
		l.register.note(place{app: app, channel: channel})
	}
}

func (r *register) note(at place) {
	r.mu.Lock()
	r.add(at)
	r.mu.Unlock()
	r.look()
}

// add adds to what Redis is to be told. The caller holds mu.
func (r *register) add(at place) {
	if len(r.changed) >= maxChanged {
		clear(r.changed)
		r.compare = true
	}
	if !r.compare {
		r.changed[at] = struct{}{}
	}
}

// doubt has everything compared.
func (r *register) doubt() {
	r.mu.Lock()
	r.compare = true
	r.mu.Unlock()
	r.look()
}

// lookAtMarks has all lanes find out at once whether Redis still knows this machine.
func (b *broker) lookAtMarks() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.lanes {
		if l != nil {
			l.register.look()
		}
	}
}

func (r *register) look() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run tells Redis until the broker is closed.
func (r *register) run() {
	ctx := r.broker.ctx
	pause := minPause
	away := false
	for {
		err := r.send(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			if away {
				away = false
				r.broker.log.Info("redis knows again who is in the channels of this machine", zap.String("lane", r.lane.name))
			}
			pause = minPause
			if !r.wait(ctx) {
				return
			}
			continue
		}
		if !away {
			away = true
			r.broker.log.Warn("cannot tell redis who is in the channels of this machine; the other machines learn of it later",
				zap.String("lane", r.lane.name), zap.Error(r.broker.server.explain(err)))
		}
		if sleep(ctx, pause/2+mathrand.N(pause)) != nil { //nolint:gosec // spreads load
			return
		}
		pause = min(2*pause, maxSayPause)
	}
}

// wait returns once there is something to do, or with false when the broker is closed.
func (r *register) wait(ctx context.Context) bool {
	timer := time.NewTimer(r.broker.lease / renewals)
	defer timer.Stop()
	select {
	case <-r.wake:
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	return true
}

// send tells Redis what has changed, and finds out whether it has lost the rest.
func (r *register) send(ctx context.Context) error {
	m := r.broker.shared()
	if m == nil {
		return nil
	}
	if time.Since(r.settled) >= r.broker.lease/renewals {
		r.settled = time.Now()
		for _, s := range r.lane.all() {
			s.settle()
		}
	}
	changed, compare := r.take()
	switch {
	case compare, r.mark == "" && len(changed) > 0:
		if err := r.compareAll(ctx, m); err != nil {
			r.putBack(changed, true)
			return err
		}
		return nil
	case r.mark == "":
		return nil
	case len(changed) == 0:
		mark, err := r.broker.markOf(ctx, r.lane.name, r.broker.member().id)
		if err == nil && mark != r.mark {
			r.lost = true
			r.doubt()
		}
		return err
	}
	byApp := make(map[string][]place)
	for at := range changed {
		byApp[at.app] = append(byApp[at.app], at)
	}
	for app, places := range byApp {
		slices.SortFunc(places, comparePlaces)
		for some := range slices.Chunk(places, sayBatch) {
			says := make([]say, len(some))
			for i, at := range some {
				says[i] = r.sayOf(m, at)
			}
			known, err := r.broker.say(ctx, r.lane.name, app, r.broker.member().id, r.mark, says)
			if err != nil || !known {
				r.lost = r.lost || err == nil
				r.putBack(changed, err == nil)
				return err
			}
		}
	}
	return nil
}

// take takes what is to be told.
func (r *register) take() (changed map[place]struct{}, compare bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed, compare = r.changed, r.compare
	r.changed, r.compare = make(map[place]struct{}), false
	return changed, compare
}

func (r *register) putBack(changed map[place]struct{}, compare bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.compare = r.compare || compare
	for at := range changed {
		r.add(at)
	}
	r.look()
}

// sayOf returns what is to be told of a place.
func (r *register) sayOf(m cluster.Members, at place) say {
	s := say{what: sayRemove, channel: at.channel, facts: factsOf(m, at.app, at.channel)}
	u := cluster.ChannelMember{User: at.user}
	var is bool
	if at.user == "" {
		is = r.lane.find(r.broker.pubsubName(at.app, at.channel)) != nil
	} else {
		u.Info, is = m.Here(at.app, at.channel, at.user)
	}
	if is {
		s.what = sayAdd
	}
	s.user = u
	return s
}
