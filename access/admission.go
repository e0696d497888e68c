package access

import (
	"net/http"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/lean"
	"github.com/seed-c079cc48/caddy-realtime/internal/limit"
)

// Limits limit the connections of clients.
type Limits struct {
	Connections      int           // 0 means no limit
	ConnectionsPerIP int           // 0 means no limit
	Connects         int           // per address in any ConnectWindow
	ConnectWindow    time.Duration // the window for Connects
}

// Admission counts open connections, in total and by client prefix, and decides
// whether a client can open another one. The zero value has no connections.
type Admission struct {
	rates limit.Strangers[netip.Prefix]

	full, crowded, hasty limit.Seldom // log lines

	mu    sync.Mutex // guards the fields below
	total int
	from  lean.Map[netip.Prefix, connections] // without empty entries
}

// connections counts those of one client prefix. over counts clients beyond
// max_connections_per_ip, which are connected only to be told so.
type connections struct{ within, over int }

// Enter counts a connection, unless it is refused. over means that the client
// is admitted only to be told that its address has too many connections: a
// stock client sees the reason in the answer to its CONNECT, but not in the
// answer to a handshake. A prefix can have as many of those as of regular
// connections, so nobody gains by it.
func (a *Admission) Enter(ip string, limits Limits) (over bool, refusal *apierr.Error) {
	prefix, known := ClientPrefix(ip)
	if over, refusal = a.count(prefix, known, limits); refusal != nil || !known {
		return over, refusal
	}
	if result := a.rates.Allow(prefix, limits.Connects, limits.ConnectWindow); !result.OK {
		a.Leave(ip, over)
		return false, apierr.ConnectRate(limits.Connects, limits.ConnectWindow, result.RetryAfter)
	}
	return over, nil
}

// count is Enter without the rate limit.
func (a *Admission) count(prefix netip.Prefix, known bool, limits Limits) (over bool, refusal *apierr.Error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if most := limits.Connections; most > 0 && a.total >= most {
		return false, apierr.Full()
	}
	if known {
		here := a.from.Get(prefix)
		switch most := limits.ConnectionsPerIP; {
		case most == 0 || here.within < most:
			here.within++
		case here.over < most:
			over = true
			here.over++
		default:
			refusal = apierr.CrowdedAddress(most)
			refusal.Status, refusal.RetryAfter = http.StatusTooManyRequests, time.Second
			return false, refusal
		}
		a.from.Set(prefix, here)
	}
	a.total++
	return over, nil
}

// Leave removes a connection that Enter counted.
func (a *Admission) Leave(ip string, over bool) {
	prefix, known := ClientPrefix(ip)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.total--
	if !known {
		return
	}
	here := a.from.Get(prefix)
	if over {
		here.over--
	} else {
		here.within--
	}
	if here == (connections{}) {
		a.from.Delete(prefix)
	} else {
		a.from.Set(prefix, here)
	}
}

// Log logs the setting that a client was refused for, at most once per
// interval.
func (a *Admission) Log(log *zap.Logger, refusal *apierr.Error, ip string, limits Limits) {
	switch {
	case refusal.Code == "unavailable" && a.full.Now():
		log.Warn("clients refused: max_connections is reached; they retry by themselves, or raise max_connections",
			zap.Int("max_connections", limits.Connections))
	case refusal.Code == "too_many_connections" && a.crowded.Now():
		log.Warn("clients refused: their address has reached its connection limit; raise max_connections_per_ip, or set trusted_proxies and trusted_proxies_strict if it is a proxy's",
			zap.Int("max_connections_per_ip", limits.ConnectionsPerIP), zap.String("client_ip", ip))
	case refusal.Code == "rate_limited" && a.hasty.Now():
		log.Warn("clients refused: their address opens connections too fast; they retry by themselves, or raise connect_rate, or set trusted_proxies and trusted_proxies_strict if it is a proxy's",
			zap.Int("connections", limits.Connects), zap.Duration("window", limits.ConnectWindow), zap.String("client_ip", ip))
	}
}
