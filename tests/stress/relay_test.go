package stress

import (
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/tests/client"
	"github.com/seed-c079cc48/caddy-realtime/tests/relay"
)

// relay puts a bad network in front of the gateway, for clients that connect
// to its Addr.
func (g *gateway) relay(up, down relay.Fault) *relay.Relay {
	g.t.Helper()
	r, err := relay.Start(g.Addr, up, down)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(r.Close)
	return r
}

// at is the configuration of an app's client that connects to an address.
func (a app) at(addr string) client.Config {
	return client.Config{Addr: addr, AppID: a.ID, Key: a.SubscribeKey}
}

// mixed is so many clients of each transport.
func mixed(n int) []client.Transport {
	list := repeat(client.OverWebSocket, n)
	list = append(list, repeat(client.OverPolling, n)...)
	return append(list, repeat(client.Upgraded, n)...)
}

// lose closes the clients of a network that is gone, whatever they say.
func (crowd *audience) lose(t *testing.T) {
	t.Helper()
	each(t, len(crowd.clients), 32, func(i int) error {
		_ = crowd.clients[i].Close()
		return nil
	})
}
