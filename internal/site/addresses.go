package site

import (
	"reflect"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// AddressWarnings logs settings that make per-address limits useless, once per
// server. The zero value is ready to use. It is not safe for concurrent use.
type AddressWarnings struct {
	seen map[*caddyhttp.Server]struct{}
}

// Check logs a warning if the server's clients can choose their address or have none.
func (a *AddressWarnings) Check(logger *zap.Logger, server *caddyhttp.Server) {
	if _, ok := a.seen[server]; ok {
		return
	}
	if a.seen == nil {
		a.seen = make(map[*caddyhttp.Server]struct{})
	}
	a.seen[server] = struct{}{}
	unix := unixListener(server)
	if server.TrustedProxiesStrict == 0 && (hasTrustedProxies(server) || unix != "" && server.TrustedProxiesUnix) {
		logger.Warn("trusted_proxies without trusted_proxies_strict: clients can forge their address, and with it evade limits by address or use up another client's; add trusted_proxies_strict to the servers option",
			zap.Strings("listen", server.Listen))
	}
	if unix != "" && !server.TrustedProxiesUnix {
		logger.Warn("clients of a unix socket have no address, so limits by address do not apply to them; add trusted_proxies_unix and trusted_proxies_strict to the servers option",
			zap.String("listen", unix))
	}
}

// hasTrustedProxies reports whether the server's trusted_proxies is set. Caddy
// keeps the module it has loaded in an unexported field, and clears the
// exported raw one before it provisions handlers.
func hasTrustedProxies(server *caddyhttp.Server) bool {
	loaded := reflect.ValueOf(server).Elem().FieldByName("trustedProxies")
	return server.TrustedProxiesRaw != nil || loaded.IsValid() && !loaded.IsNil()
}

// unixListener returns the first unix socket that the server listens on, or "".
func unixListener(server *caddyhttp.Server) string {
	for _, listen := range server.Listen {
		if addr, err := caddy.ParseNetworkAddress(listen); err == nil && addr.IsUnixNetwork() {
			return listen
		}
	}
	return ""
}
