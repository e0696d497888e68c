package stress

import (
	"regexp"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/tests/client"
)

// metric reads one of ours, with its labels.
func (g *gateway) metric(name string) float64 {
	g.t.Helper()
	return g.anyMetric("caddy_realtime_" + name)
}

// anyMetric reads one, ours or not.
func (g *gateway) anyMetric(name string) float64 {
	g.t.Helper()
	return g.number("/metrics", regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(name)+` (\S+)$`))
}

func TestMetricsGoOnOverReloads(t *testing.T) {
	t.Parallel()
	g := start(t, "")
	a := g.newApp()
	crowd := g.join(a, "c", repeat(client.OverWebSocket, 10)...)
	each(t, 5, 1, func(i int) error { return crowd.clients[i].Subscribe("d") })
	g.await("all are subscribed", 30*time.Second, func() bool { return g.metric("subscriptions") == 15 })
	for _, when := range []string{"at first", "after a reload", "after a failed reload"} {
		switch when {
		case "after a reload":
			if err := g.reload(g.caddyfile("max_channels 7")); err != nil {
				t.Fatal(err)
			}
		case "after a failed reload":
			if err := g.reload(g.caddyfile("max_channels 0")); err == nil {
				t.Fatal("a reload that must fail did not")
			}
		}
		for name, want := range map[string]float64{"connections": 10, "connecting": 0, "channels": 2, "subscriptions": 15, "connecting_refused_total": 0} {
			if n := g.metric(name); n != want {
				t.Errorf("%s: %s is %v, want %v", when, name, n, want)
			}
		}
	}
	crowd.close(t)
}
