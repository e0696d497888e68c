package realtime

import (
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

// drainStep is how far apart sockets are closed, on average, as long as all of
// them fit into the drain: a process that starts next to this one, or after
// it, then meets its clients one by one.
const drainStep = time.Millisecond

// drain closes all sessions before the process ends, and returns when they are
// closed or the time is up. Polls end at once, as each holds a request of a
// server that waits for it; websockets end in jittered order over at most two
// thirds of the time. It is a transport close for all of them: stock clients
// come back, while DISCONNECT would keep them away.
func (rt *runtime) drain() {
	rt.drainOnce.Do(func() {
		rt.draining.Store(true)
		go rt.closeSessions(time.Duration(rt.settings().Drain))
	})
	<-rt.drained
}

func (rt *runtime) closeSessions(limit time.Duration) {
	defer close(rt.drained)
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	sessions := rt.eio.Sessions()
	if len(sessions) == 0 || limit <= 0 { // see noDrain; who is left is cut off
		return
	}
	rt.log.Info("draining", zap.Int("sessions", len(sessions)), zap.Duration("limit", limit))
	var websockets []*engineio.Session
	for _, s := range sessions {
		if s.Transport() == "websocket" {
			websockets = append(websockets, s)
		} else {
			s.Close(engineio.ServerShutdown)
		}
	}
	rand.Shuffle(len(websockets), func(i, j int) { websockets[i], websockets[j] = websockets[j], websockets[i] })
	spread := min(limit*2/3, time.Duration(len(websockets))*drainStep)
	tick := time.NewTicker(drainTick)
	defer tick.Stop()
	begin, closed := time.Now(), 0
	for {
		due := len(websockets)
		if elapsed := time.Since(begin); elapsed < spread {
			due = int(int64(len(websockets)) * int64(elapsed) / int64(spread))
		}
		for ; closed < due; closed++ {
			websockets[closed].Close(engineio.ServerShutdown)
		}
		if rt.eio.Len() == 0 {
			return
		}
		select {
		case <-deadline.C:
			rt.log.Warn("drain is over, cutting off the rest", zap.Int("sessions", rt.eio.Len()))
			return
		case <-tick.C:
		}
	}
}

// drainTick is how often the drain goes on.
const drainTick = 5 * time.Millisecond
