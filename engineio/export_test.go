package engineio

import (
	"net/http"
	"time"
)

// ServeHTTP is Serve with an empty Exchange.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.Serve(w, r, Exchange{}) }

// Polled reports whether a poll is waiting.
func (s *Session) Polled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pending != nil
}

// Queued returns the bytes that count against MaxQueue.
func (s *Session) Queued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queued
}

// Posting reports whether a POST is in progress.
func (s *Session) Posting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.posting
}

// Beat is the function that the wheel calls.
func (s *Session) Beat(now time.Time) { s.beat(now) }

// Upgrading reports whether a websocket is being probed.
func (s *Session) Upgrading() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.upgrading
}

// CancelRefused gives up a poll that was waiting when the session was upgraded.
func (s *Session) CancelRefused() { s.cancel(&pendingPoll{refused: true}) }

// Packets returns the number of packets received in the current window.
func (s *Session) Packets() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.packets)
}

// Tally counts a packet.
func (s *Session) Tally() bool { return s.tally() }
