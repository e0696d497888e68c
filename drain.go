package realtime

import (
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

const (
	// drainStep is how far apart websockets are closed, on average, as long as
	// all of them fit into the drain: a process that starts next to this one,
	// or after it, then meets its clients one by one.
	drainStep = time.Millisecond

	// drainTick is how often the drain goes on.
	drainTick = 5 * time.Millisecond

	// pollGrace is how long a client between two polls may take to come for
	// the news. One that takes longer will find the listener closed.
	pollGrace = time.Second
)

// drain closes all sessions before the process ends, and returns when they are
// closed or the time is up.
func (rt *runtime) drain() {
	rt.beginDrain()
	<-rt.drained
}

// beginDrain ends polls at once, as each holds a request of a server that
// waits for it, and has websockets closed in jittered order over at most two
// thirds of the time. It is a transport close for all of them: stock clients
// come back, while DISCONNECT would keep them away.
func (rt *runtime) beginDrain() {
	rt.drainOnce.Do(func() {
		rt.draining.Store(true)
		rt.live.End()
		limit := time.Duration(*rt.settings().Drain)
		sessions := rt.eio.Sessions()
		if len(sessions) == 0 || limit <= 0 { // who is left is cut off
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
	//nolint:gosec // the order is no secret
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
