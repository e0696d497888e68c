package engineio

import (
	"net/http"
	"time"
)

// ServeHTTP is Serve with nothing known about the request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.Serve(w, r, Exchange{}) }

// Polled says whether a poll waits.
func (s *Session) Polled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pending != nil
}

// Queued is what counts against MaxQueue.
func (s *Session) Queued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queued
}

// Posting says whether a POST is under way.
func (s *Session) Posting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.posting
}

// Beat is what the wheel calls.
func (s *Session) Beat(now time.Time) { s.beat(now) }

// Upgrading says whether a websocket is probed.
func (s *Session) Upgrading() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.upgrading
}

// CancelRefused gives up a poll that waited when the session was upgraded.
func (s *Session) CancelRefused() { s.cancel(&pendingPoll{refused: true}) }

// Packets is how many came in the window.
func (s *Session) Packets() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.packets)
}

// Tally counts a packet.
func (s *Session) Tally() bool { return s.tally() }
