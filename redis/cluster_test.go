package redis

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
)

// startCluster starts a cluster of three primaries.
func startCluster(t testing.TB) []*redisServer {
	t.Helper()
	const slots, nodes = 16384, 3
	var servers []*redisServer
	var ports []string
	for i := range nodes {
		bus := freePort(t) // the default, port + 10000, can be out of range
		s := startRedis(t, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(bus), "--cluster-node-timeout", "20000", "--appendonly", "yes")
		s.cli("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*slots/nodes), strconv.Itoa((i+1)*slots/nodes-1))
		s.cli("CONFIG", "SET", "cluster-announce-ip", "127.0.0.1")
		servers, ports = append(servers, s), append(ports, strconv.Itoa(bus))
	}
	for i, s := range servers[1:] {
		servers[0].cli("CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(s.port), ports[i+1])
	}
	until(t, "the cluster is complete", func() bool {
		for _, s := range servers {
			if info := s.cli("CLUSTER", "INFO"); !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:3") {
				return false
			}
		}
		return true
	})
	return servers
}

// cli runs a command on this server, although it may belong to a cluster.
func (s *redisServer) cli(words ...string) string {
	s.t.Helper()
	out, err := exec.Command("redis-cli", append([]string{"-p", strconv.Itoa(s.port)}, words...)...).CombinedOutput()
	if err != nil || strings.HasPrefix(string(out), "ERR") {
		s.t.Fatalf("%s: %v, %s", words, err, out)
	}
	return string(out)
}

func TestKeystoreInACluster(t *testing.T) {
	t.Parallel()
	servers := startCluster(t)
	var nodes []string
	for _, s := range servers {
		nodes = append(nodes, fmt.Sprintf("127.0.0.1:%d", s.port))
	}
	a := newHolder(t, fmt.Sprintf("redis://realtime:password@%s?addr=%s&addr=%s", nodes[0], nodes[1], nodes[2]))
	b := newHolder(t, "redis://realtime:password@"+nodes[2])
	one, s := a.open()
	other, _ := b.open()
	slots := make(map[string]bool)
	for range 20 {
		id := create(t, one, "shop").App.ID
		slots[servers[0].cli("CLUSTER", "KEYSLOT", s.names.app(id))] = true
		knows(t, other, id, "shop")
		rename(t, other, id, "store")
		knows(t, one, id, "store")
	}
	if len(slots) < 2 {
		t.Error("all records have the same slot")
	}
	apps, _ := one.Apps("", 1)
	key := apps[0].Keys[0]
	if err := s.PutUsed(t.Context(), apps[0].ID, map[string]time.Time{key.ID: apps[0].Created}); err != nil {
		t.Error(err)
	}
	if err := one.Delete(apps[0].ID); err != nil {
		t.Fatal(err)
	}
	knows(t, other, apps[0].ID, "")
	third, _ := newHolder(t, "redis://realtime:password@"+nodes[1]).open()
	if n := count(third); n != 19 {
		t.Errorf("%d apps, want 19", n)
	}
	if s.client.Mode() != rueidis.ClientModeCluster {
		t.Error("the client does not know of the cluster")
	}

	// Without the node of the index, nothing can be changed; once it is back, all can.
	index := servers[indexOf(servers, s.names.index)]
	index.kill()
	_, err := one.Create("later")
	if err == nil {
		t.Fatal("no error without a node")
	}
	index.start()
	until(t, "apps can be changed again", func() bool { _, err := one.Create("again"); return err == nil })
	until(t, "the other one knows it", func() bool { return count(other) >= 20 })
}

// indexOf returns which node has a key.
func indexOf(servers []*redisServer, key string) int {
	slot, _ := strconv.Atoi(strings.TrimSpace(servers[0].cli("CLUSTER", "KEYSLOT", key)))
	return min(slot*len(servers)/16384, len(servers)-1)
}
