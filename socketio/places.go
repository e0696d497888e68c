package socketio

import (
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

// places counts the sessions without a connected socket, in total and by client
// address. The zero value is ready to use.
type places struct {
	mu   sync.Mutex // guards everything below
	all  int
	from map[netip.Prefix]int // never holds a count of 0
}

// A place is held by a session without a connected socket.
type place struct {
	address netip.Prefix // invalid if the client has none
	nth     int          // the total when it was taken, from 1
	timeout *time.Timer  // closes the session; its function also frees the place
}

// shareOf returns how many of the places one address can hold: a quarter,
// rounded up. An office that shares an address then has 1,250 of 5,000, each
// for the moment that a CONNECT takes, and it takes four addresses to keep
// everybody out.
func shareOf(limit int) int { return (limit + 3) / 4 }

// take returns a place, or nil if there is none for this address; crowded
// reports that other addresses could still get one. A limit of 0 means no
// limit.
func (p *places) take(address netip.Prefix, limit int) (taken *place, crowded bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if limit > 0 && p.all >= limit {
		return nil, false
	}
	if address.IsValid() {
		if limit > 0 && p.from[address] >= shareOf(limit) {
			return nil, true
		}
		if p.from == nil {
			p.from = make(map[netip.Prefix]int)
		}
		p.from[address]++
	}
	p.all++
	return &place{address: address, nth: p.all}, false
}

// free releases a place. It must be called once per place.
func (p *places) free(taken *place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all--
	if !taken.address.IsValid() {
		return
	}
	if p.from[taken.address]--; p.from[taken.address] == 0 {
		delete(p.from, taken.address)
	}
}

// count returns the number of places taken.
func (p *places) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all
}

// enter takes a place for a session, or returns nil if there is none.
func (s *Server) enter(sess *engineio.Session) *place {
	cfg := s.cfg.Load()
	var address netip.Prefix
	if cfg.Address != nil {
		address = cfg.Address(sess.Data())
	}
	taken, crowded := s.connecting.take(address, cfg.MaxConnecting)
	if taken != nil {
		return taken
	}
	refused := s.refused.Add(1)
	if crowded {
		if s.crowded.Now() {
			cfg.Logger.Warn("clients refused: too many connecting from one address; they retry by themselves; "+
				"raise max_connecting, of which an address has a quarter, or set trusted_proxies and trusted_proxies_strict if it is a proxy's",
				zap.String("client_ip", addressText(address)), zap.Int("share", shareOf(cfg.MaxConnecting)),
				zap.Int("max_connecting", cfg.MaxConnecting), zap.Uint64("refused_so_far", refused))
		}
		return nil
	}
	if s.full.Now() {
		cfg.Logger.Warn("clients refused: too many are connecting at once; they retry by themselves, or raise max_connecting",
			zap.Int("max_connecting", cfg.MaxConnecting), zap.Uint64("refused_so_far", refused))
	}
	return nil
}

// addressText formats an address for logs, with its prefix length only if it
// stands for several addresses.
func addressText(address netip.Prefix) string {
	if address.IsSingleIP() {
		return address.Addr().String()
	}
	return address.String()
}
