package engineio

import (
	"errors"
	"time"

	"go.uber.org/zap"
)

// errFlood ends a websocket whose client sends too many packets.
var errFlood = errors.New("too many packets")

// tally counts one frame, or one packet of a POST, from the client. It returns
// false if the client must be cut off: it has sent more than twice its limit in
// a window.
//
// A window begins with the first packet after the last window. That takes 12
// bytes per session, and allows at most twice the limit in any period of a
// window's length.
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

// maxPackets returns how many packets the client may send in a window.
func (s *Session) maxPackets(cfg *Config) int {
	if cfg.NeededPackets == nil {
		return cfg.MaxPackets
	}
	return max(cfg.MaxPackets, cfg.NeededPackets(s.data))
}

// Excess reports whether the client has sent more packets than allowed. If so,
// limit is the number allowed, and wait is how long until the client may send
// more. Otherwise limit is 0.
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
	if s.state != stateClosed { // once closed, nothing waits for the log
		s.log(cutoffFlood, zap.Int32("packets", s.packets))
	}
}
