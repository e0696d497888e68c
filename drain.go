package realtime

import (
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

const (
	// drainStep is the average interval between closing two websockets, as long
	// as all of them fit into the drain: clients then reach the replacement
	// process one at a time.
	drainStep = time.Millisecond

	// drainTick is the interval at which the drain closes websockets.
	drainTick = 5 * time.Millisecond

	// pollGrace is how long a client between two polls has to send the next one.
	// A slower client finds the listener closed.
	pollGrace = time.Second
)

// drain closes all sessions before the process exits. It returns when they are
// closed or time is up.
func (rt *runtime) drain() {
	rt.beginDrain()
	<-rt.drained
}

// beginDrain ends polls immediately, because the HTTP server waits for their
// requests, and closes websockets in random order over at most two thirds of the
// time. Clients see a transport close, after which stock clients reconnect; they
// would not reconnect after a DISCONNECT.
func (rt *runtime) beginDrain() {
	rt.drainOnce.Do(func() {
		rt.draining.Store(true)
		rt.live.End()
		limit := time.Duration(*rt.settings().Drain)
		sessions := rt.eio.Sessions()
		if len(sessions) == 0 || limit <= 0 { // the remaining sessions are cut off
			close(rt.drained)
			return
		}
		rt.log.Info("draining", zap.Int("sessions", len(sessions)), zap.Duration("limit", limit))
		var polls, websockets []*engineio.Session
		for _, s := range sessions {
			if s.Transport() == "websocket" {
				websockets = append(websockets, s)
				continue
			}
			s.Close(engineio.ServerShutdown)
			polls = append(polls, s)
		}
		go rt.closeSessions(limit, polls, websockets)
	})
}

func (rt *runtime) closeSessions(limit time.Duration, polls, websockets []*engineio.Session) {
	defer close(rt.drained)
	//nolint:gosec // the order is not a secret
	rand.Shuffle(len(websockets), func(i, j int) { websockets[i], websockets[j] = websockets[j], websockets[i] })
	spread := min(limit*2/3, time.Duration(len(websockets))*drainStep)
	tick := time.NewTicker(drainTick)
	defer tick.Stop()
	begin, closed := time.Now(), 0
	for now := begin; rt.eio.Len() > 0; now = <-tick.C {
		elapsed := now.Sub(begin)
		if elapsed > limit {
			rt.log.Warn("drain has ended, cutting off the remaining sessions", zap.Int("sessions", rt.eio.Len()))
			return
		}
		due := len(websockets)
		if elapsed < spread {
			due = int(int64(due) * int64(elapsed) / int64(spread))
		}
		for ; closed < due; closed++ {
			websockets[closed].Close(engineio.ServerShutdown)
		}
		if elapsed > pollGrace {
			for _, s := range polls {
				s.Abort(engineio.ServerShutdown)
			}
			polls = nil
		}
	}
}
