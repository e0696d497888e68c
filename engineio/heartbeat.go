package engineio

import (
	"time"

	"go.uber.org/zap"
)

// startHeartbeat schedules the first ping, when the session can be told. One
// that is over already keeps the deadline of its end.
func (s *Session) startHeartbeat() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == stateOpen {
		s.server.wheel.schedule(&s.timer, s.nextPing)
	}
}

// beat is called by the wheel when the session's next deadline may be due: a
// ping, its pong, or the end of a session that is closing.
func (s *Session) beat(now time.Time) {
	s.mu.Lock()
	s.expire(now)
	switch {
	case s.state == stateClosed:
		farewell := s.farewell
		s.mu.Unlock()
		if farewell { // nobody came for it
			s.server.forget(s)
		}
		return
	case s.state == stateClosing:
		if now.Before(s.due) { // a ping was due when the session was closed
			s.server.wheel.schedule(&s.timer, s.due)
		} else {
			if s.conn != nil { // it does not take even its close frame
				discard(s.conn)
			}
			s.abort(s.reason, closePacket)
		}
		s.mu.Unlock()
		return
	case !s.pinged && !now.Before(s.nextPing):
		s.ping(now)
	}
	next := s.nextPing
	if s.pinged {
		// The pong may come at once, and the next ping be due before this
		// one's timeout.
		next = now.Add(s.interval)
		if s.due.Before(next) {
			next = s.due
		}
	}
	s.server.wheel.schedule(&s.timer, next)
	s.mu.Unlock()
}

// ping sends a ping. It needs mu.
func (s *Session) ping(now time.Time) {
	due := s.nextPing
	if now.Sub(due) > s.timeout/4 {
		due = now // the process was stopped; the client is not to pay for it
	}
	s.pinged, s.excused, s.due = true, false, due.Add(s.timeout)
	s.enqueue(pingPacket.size(), pingPacket)
}

// pong takes note of a client's answer.
func (s *Session) pong() {
	s.mu.Lock()
	if s.pinged {
		s.pinged, s.nextPing = false, time.Now().Add(s.interval)
		if s.packets > 0 {
			s.packets-- // it was asked for
		}
	}
	s.mu.Unlock()
}

// expire ends the session if its pong is overdue. The wheel only turns every
// few milliseconds, so requests ask too. It needs mu.
func (s *Session) expire(now time.Time) {
	if s.state != stateOpen || !s.pinged || now.Before(s.due) {
		return
	}
	if !s.excused { // the client may have answered, and nobody was there to read it
		s.excused = true
		if s.server.wheel.missed(s.due, now) {
			s.due = now.Add(s.timeout)
		} else {
			s.due = s.due.Add(s.server.wheel.lost(s.due.Add(-s.timeout)))
		}
		if now.Before(s.due) {
			return
		}
	}
	s.server.stats.PingTimeouts.Add(1)
	s.log(cutoffPingTimeout, zap.Duration("timeout", s.timeout))
	s.abort(PingTimeout, closePacket)
}
