package realtime

import (
	"maps"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/limit"
)

// entrance counts the clients whose connection is open, in all and by address,
// and decides who may open another. Its zero value has none.
type entrance struct {
	rates limit.Strangers[netip.Prefix]

	full, crowded, hasty limit.Seldom // log lines

	mu   sync.Mutex // guards all below
	open int
	from map[netip.Prefix]crowd // none that is empty
	most int                    // addresses since from was made, which never gets smaller by itself
}

// A crowd is the clients of one address: those that are in, and those that are
// over max_connections_per_ip and only there to be told so.
type crowd struct{ in, over int }

// enter counts a client in, unless it is refused. over says that it is let in
// only to be told that its address has too many connections: a stock client
// sees the reason in the answer to its CONNECT, and not in that to a handshake.
// So that nobody gains by it, an address has no more of those than of others.
func (e *entrance) enter(ip string, s *Settings) (over bool, refusal *apierr.Error) {
	customer, known := customerOf(ip)
	if over, refusal = e.count(customer, known, s); refusal != nil || !known {
		return over, refusal
	}
	rate := *s.ConnectRate
	if result := e.rates.Allow(customer, rate.Count, time.Duration(rate.Window)); !result.OK {
		e.leave(ip, over)
		return false, apierr.ConnectRate(rate.Count, time.Duration(rate.Window), result.RetryAfter)
	}
	return over, nil
}

// count is enter without the rate.
func (e *entrance) count(customer netip.Prefix, known bool, s *Settings) (over bool, refusal *apierr.Error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if most := *s.MaxConnections; most > 0 && e.open >= most {
		return false, apierr.Full()
	}
	if known {
		here := e.from[customer]
		switch most := s.MaxConnectionsPerIP; {
		case most == 0 || here.in < most:
			here.in++
		case here.over < most:
			over = true
			here.over++
		default:
			refusal = apierr.CrowdedAddress(most)
			refusal.Status, refusal.RetryAfter = http.StatusTooManyRequests, time.Second
			return false, refusal
		}
		if e.from == nil {
			e.from = make(map[netip.Prefix]crowd)
		}
		e.from[customer] = here
		e.most = max(e.most, len(e.from))
	}
	e.open++
	return over, nil
}

// leave takes note that a client which entered is gone.
func (e *entrance) leave(ip string, over bool) {
	customer, known := customerOf(ip)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.open--
	if !known {
		return
	}
	here := e.from[customer]
	if over {
		here.over--
	} else {
		here.in--
	}
	if here.in == 0 && here.over == 0 {
		delete(e.from, customer)
		e.shrink()
	} else {
		e.from[customer] = here
	}
}

// shrinkAt is how many addresses a map must have had to be worth a smaller one.
const shrinkAt = 4096

// shrink frees the memory of many addresses once few are left. It needs mu.
func (e *entrance) shrink() {
	left := len(e.from)
	if e.most < shrinkAt || left > e.most/4 {
		return
	}
	from := make(map[netip.Prefix]crowd, left)
	maps.Copy(from, e.from)
	e.from, e.most = from, left
}

// tell has the log name the setting that a client was refused for, seldom.
func (e *entrance) tell(log *zap.Logger, refusal *apierr.Error, ip string, s *Settings) {
	switch {
	case refusal.Code == "unavailable" && e.full.Now():
		log.Warn("clients refused: as many are connected as may be; they try again by themselves, or raise max_connections",
			zap.Int("max_connections", *s.MaxConnections))
	case refusal.Code == "too_many_connections" && e.crowded.Now():
		log.Warn("clients refused: their address has as many connections as it may; raise max_connections_per_ip, or set trusted_proxies and trusted_proxies_strict if it is a proxy's",
			zap.Int("max_connections_per_ip", s.MaxConnectionsPerIP), zap.String("client_ip", ip))
	case refusal.Code == "rate_limited" && e.hasty.Now():
		log.Warn("clients refused: their address opens connections too fast; they try again by themselves, or raise connect_rate, or set trusted_proxies and trusted_proxies_strict if it is a proxy's",
			zap.Int("connections", s.ConnectRate.Count), zap.Duration("window", time.Duration(s.ConnectRate.Window)), zap.String("client_ip", ip))
	}
}
