package engineio

import (
	"errors"
	"time"

	"go.uber.org/zap"
)

// errFlood ends a websocket whose client sends more than it may.
var errFlood = errors.New("too many packets")

// tally counts one thing that a client sent: a frame, or a packet of a POST.
// It is false for one that has sent twice as much as it may in a window, and
// is to be cut off.
//
// A window begins with the first packet after the last one: that takes 12 bytes
// of a session, and lets no more than twice the limit into any time of its
// length.
func (s *Session) tally() bool {
	cfg := s.server.cfg.Load()
	if cfg.MaxPackets == 0 {
		return true
	}
	now := time.Since(s.server.began)
	s.mu.Lock()
	defer s.mu.Unlock()
	if now >= s.windowEnd {
		s.windowEnd, s.packets = now+cfg.PacketWindow, 0
	}
	s.packets++
	return int(s.packets) <= 2*cfg.MaxPackets || int(s.packets) <= 2*s.maxPackets(cfg)
}

// maxPackets is how many packets the client may send in a window.
func (s *Session) maxPackets(cfg *Config) int {
	if cfg.NeededPackets == nil {
		return cfg.MaxPackets
	}
	return max(cfg.MaxPackets, cfg.NeededPackets(s.data))
}

// Excess says whether the client has sent more packets than it may: then limit
// is how many that is, and wait how long it has to wait to send more. Else
// limit is 0.
func (s *Session) Excess() (limit int, wait time.Duration) {
	cfg := s.server.cfg.Load()
	now := time.Since(s.server.began)
	s.mu.Lock()
	defer s.mu.Unlock()
	if cfg.MaxPackets == 0 || int(s.packets) <= cfg.MaxPackets || now >= s.windowEnd {
		return 0, 0
	}
	if limit = s.maxPackets(cfg); int(s.packets) <= limit {
		return 0, 0
	}
	return limit, s.windowEnd - now
}

// noteFlood counts and logs that the client is about to be cut off.
func (s *Session) noteFlood() {
	s.server.stats.Floods.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != stateClosed { // else nobody waits for the log
		s.log(cutoffFlood, zap.Int32("packets", s.packets))
	}
}
