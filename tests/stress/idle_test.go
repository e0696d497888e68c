package stress

import (
	"debug/buildinfo"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/tests/client"
)

// raceBuild says whether the binary has the race detector in it.
func (g *gateway) raceBuild() bool {
	g.t.Helper()
	info, err := buildinfo.ReadFile(g.cmd.Path)
	if err != nil {
		g.t.Fatal(err)
	}
	for _, s := range info.Settings {
		if s.Key == "-race" {
			return s.Value == "true"
		}
	}
	return false
}

// A stack that has grown to 4 KiB never shrinks to 2, so what an idle
// websocket takes hangs on where its reader waits.
func TestIdleWebSocketTakesLittleMemory(t *testing.T) {
	t.Parallel()
	const n, maxStack, maxHeap = 3000, 2800, 3500
	g := start(t, "ping_interval 1s")
	a := g.newApp()
	factor := 1
	if g.raceBuild() {
		factor = 3 // its frames and objects are larger
	}
	stack := func() int { return int(g.anyMetric("go_memstats_stack_inuse_bytes")) }
	heap, stacks := g.usage().heap, stack()
	crowd := g.join(a, "c", repeat(client.OverWebSocket, n)...)
	pinged := time.Now().Add(2 * time.Second) // by then all have answered a ping
	var eachHeap, eachStack int
	defer func() { t.Logf("heap %d, stack %d bytes each", eachHeap, eachStack) }()
	g.await("connections are cheap", 20*time.Second, func() bool {
		if time.Now().Before(pinged) {
			return false
		}
		eachHeap, eachStack = (g.usage().heap-heap)/n, (stack()-stacks)/n
		return eachHeap <= factor*maxHeap && eachStack <= factor*maxStack
	})
	crowd.close(t)
}
