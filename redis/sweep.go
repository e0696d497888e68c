package redis

import (
	"context"
	"maps"
	mathrand "math/rand/v2"
	"time"

	"github.com/redis/rueidis"
	"github.com/seed-c079cc48/caddy-realtime/cluster"
	"go.uber.org/zap"
)

// maxGrace bounds for how long a machine that is gone still counts in the channels.
const maxGrace = 10 * time.Second

// sweep removes what machines have said that are gone, until the broker is closed. Each
// machine does it, so that it does not matter which one ends in the middle: the mark of
// the machine that is gone becomes one that it does not know, its users are removed, which
// does nothing the second time, and what the machine had is forgotten last. If it was not gone, it finds its mark changed and says everything again under
// another one; the scripts of those who remove it then do nothing.
func (b *broker) sweep() {
	m := b.member()
	select {
	case <-m.ready: // until then, no other machine is known
	case <-b.ctx.Done():
		return
	}
	missing := make(map[string]time.Time) // when what they have said can be removed
	for {
		wait := min(m.broker.lease, b.sweepOnce(b.ctx, missing))
		timer := time.NewTimer(wait + mathrand.N(wait/10+minPause)) //nolint:gosec // spreads load
		select {
		case <-timer.C:
		case id := <-m.ended:
			// Clients can come back elsewhere.
			missing[id] = time.Now().Add(min(b.shared().Grace(), maxGrace))
		case <-b.ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// sweepOnce looks once, and returns when to look again.
func (b *broker) sweepOnce(ctx context.Context, missing map[string]time.Time) time.Duration {
	wait := b.lease
	seen := make(map[string]bool)
	for i := range laneCount {
		lane := laneName(b.prefix, i)
		all, err := b.sayers(ctx, lane)
		if err != nil { // the log says that Redis is away
			return min(wait, maxPause)
		}
		for _, id := range all {
			if id == b.member().id || b.member().alive(id) {
				continue
			}
			seen[id] = true
			at, known := missing[id]
			if !known { // it may be about to join
				at = time.Now().Add(b.lease)
				missing[id] = at
			}
			if left := time.Until(at); left > 0 {
				wait = min(wait, left)
				continue
			}
			if err := b.clear(ctx, lane, id); err != nil && ctx.Err() == nil {
				b.log.Warn("cannot remove from the channels who was there on a machine that is gone", zap.String("machine", id), zap.Error(b.server.explain(err)))
				wait = min(wait, maxPause)
			}
		}
	}
	maps.DeleteFunc(missing, func(id string, at time.Time) bool { return !seen[id] && time.Now().After(at) })
	return wait
}

// sayers returns the machines that have said something in a lane.
func (b *broker) sayers(ctx context.Context, lane string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return b.do(ctx, func(c rueidis.Builder) rueidis.Completed { return c.Smembers().Key(sayersKey(lane)).Build() }).AsStrSlice()
}

// clear removes what a machine has said in a lane.
func (b *broker) clear(ctx context.Context, lane, id string) error {
	mark, has, err := b.entomb(ctx, lane, id)
	if err != nil {
		return err
	}
	byApp := make(map[string]map[string][]cluster.ChannelMember)
	for _, at := range has {
		byApp[at.app] = withUsers(byApp[at.app], at.channel)
	}
	for app, channels := range byApp {
		if known, err := b.sayAll(ctx, lane, app, id, mark, channels); err != nil || !known {
			return err
		}
	}
	return b.exec(ctx, scriptForget, []string{saysKey(lane, id), sayersKey(lane)}, id, mark).Error()
}
