package engineio

import (
	"time"

	"go.uber.org/zap"
)

// startHeartbeat schedules the first ping, once the client can be reached. A
// session that has already ended keeps the deadline of its end.
func (s *Session) startHeartbeat() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == stateOpen {
		s.server.wheel.schedule(&s.timer, s.nextPing)
	}
}

// beat is called by the wheel when the session's next deadline may have passed:
// for a ping, its pong, or the end of a session that is closing.
func (s *Session) beat(now time.Time) {
	s.mu.Lock()
	s.expire(now)
	switch {
	case s.state == stateClosed:
		farewell := s.farewell
		s.mu.Unlock()
		if farewell { // its next poll never came
			s.server.forget(s)
		}
		return
	case s.state == stateClosing:
		if now.Before(s.due) { // a ping was due when the session was closed
			s.server.wheel.schedule(&s.timer, s.due)
		} else {
			if s.conn != nil { // not even the close frame gets through
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
		// The pong may arrive at once, so the next ping can be due before this
		// one times out.
		next = now.Add(s.interval)
		if s.due.Before(next) {
			next = s.due
		}
	}
	s.server.wheel.schedule(&s.timer, next)
	s.mu.Unlock()
}

// ping sends a ping. The caller holds mu.
func (s *Session) ping(now time.Time) {
	due := s.nextPing
	if now.Sub(due) > s.timeout/4 {
		due = now // the process was stopped; do not penalize the client
	}
	s.pinged, s.excused, s.due = true, false, due.Add(s.timeout)
	s.enqueue(pingPacket.size(), pingPacket)
}

// pong records a client's answer to a ping.
func (s *Session) pong() {
	s.mu.Lock()
	if s.pinged {
		s.pinged, s.nextPing = false, time.Now().Add(s.interval)
		if s.packets > 0 {
			s.packets-- // an answer to a ping does not count
		}
	}
	s.mu.Unlock()
}

// expire ends the session if its pong is overdue. Requests call it, too,
// because the wheel turns only every few milliseconds. The caller holds mu.
func (s *Session) expire(now time.Time) {
	if s.state != stateOpen || !s.pinged || now.Before(s.due) {
		return
	}
	if !s.excused { // the client may have answered while the process was stopped
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
