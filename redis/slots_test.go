package redis

import (
	"crypto/rand"
	mathrand "math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/hub"
)

// moveSlot moves a slot from one server to another, as redis-cli --cluster reshard does,
// but the keys in random order. It calls between after each key.
func moveSlot(t testing.TB, servers []*redisServer, from, to *redisServer, slot string, between func()) {
	t.Helper()
	id := func(s *redisServer) string { return strings.TrimSpace(s.cli("CLUSTER", "MYID")) }
	to.cli("CLUSTER", "SETSLOT", slot, "IMPORTING", id(from))
	from.cli("CLUSTER", "SETSLOT", slot, "MIGRATING", id(to))
	for {
		keys := strings.Split(strings.TrimSuffix(from.cli("CLUSTER", "GETKEYSINSLOT", slot, "1000"), "\n"), "\n")
		key := keys[mathrand.IntN(len(keys))]
		if key == "" {
			break
		}
		if out := from.cli("MIGRATE", "127.0.0.1", strconv.Itoa(to.port), key, "0", "5000"); !strings.HasPrefix(out, "OK") && !strings.HasPrefix(out, "NOKEY") {
			t.Fatalf("moving %q: %s", key, out)
		}
		between()
	}
	for _, s := range []*redisServer{to, from} {
		s.cli("CLUSTER", "SETSLOT", slot, "NODE", id(to))
	}
	for _, s := range servers {
		until(t, "all know of the new place", func() bool {
			s.cli("CLUSTER", "SETSLOT", slot, "NODE", id(to))
			return strings.Contains(s.cli("CLUSTER", "INFO"), "cluster_state:ok")
		})
	}
}

func TestSlotThatMovesLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	servers := startCluster(t)
	nodes := ofNodes(t, servers[0].url(), shortLease, "a", "b")
	machines := []*machine{nodes[0].machine, nodes[1].machine}
	channels := []string{"a", "b", "c", "d", "e"}
	for _, m := range machines {
		m.subscribe("app", channels...)
	}
	slot := strings.TrimSpace(servers[0].cli("CLUSTER", "KEYSLOT", baseName("rt", "app")))
	first := indexOf(servers, baseName("rt", "app"))
	from, to := servers[first], servers[(first+1)%len(servers)]
	var l ledger
	var publishing sync.WaitGroup
	stop := l.load(machines, "app", 4, channels...)
	for range 2 {
		l.progress(t, 200)
		moveSlot(t, servers, from, to, slot, func() {
			// A batch is accepted completely or not at all.
			publishing.Go(func() {
				all := []*hub.Message{message("app", "a", "batch"), message("app", "new "+rand.Text(), "batch")}
				if err := machines[0].Publish(t.Context(), all); err == nil {
					l.add(all...)
				}
			})
		})
		from, to = to, from
		l.progress(t, 200)
	}
	stop()
	publishing.Wait()
	for _, m := range machines {
		l.expect(m, "app", channels...)
		m.mu.Lock()
		if len(m.lost) > 0 || len(m.moved) > 0 {
			t.Errorf("lost %v, moved %v", m.lost, m.moved)
		}
		last := uint64(0)
		for _, got := range m.got["app"] {
			if got.Offset <= last {
				t.Errorf("%d after %d", got.Offset, last)
			}
			last = got.Offset
		}
		m.mu.Unlock()
	}
}
