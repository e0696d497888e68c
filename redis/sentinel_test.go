package redis

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
)

// A watched is a primary with a replica, and a sentinel that watches them.
type watched struct {
	primary, replica *redisServer
	url              string
	ask              func(words ...string) string // asks the sentinel
}

// replication reports whether the server's replication has this line. A server that is
// starting, or that a sentinel has just told of another role, closes connections.
func (s *redisServer) replication(line string) bool {
	out, err := exec.Command("redis-cli", "-p", fmt.Sprint(s.port), "INFO", "replication").Output()
	return err == nil && strings.Contains(string(out), line)
}

// replica starts a replica of the server.
func (s *redisServer) replica() *redisServer {
	s.t.Helper()
	replica := startRedis(s.t, "--replicaof", "127.0.0.1", fmt.Sprint(s.port))
	until(s.t, "the replica follows", func() bool { return replica.replication("master_link_status:up") })
	return replica
}

// startSentinel starts all three. The sentinel has a password of its own.
func startSentinel(t testing.TB) *watched {
	t.Helper()
	primary := startRedis(t)
	replica := primary.replica()
	port := freePort(t)
	config := filepath.Join(t.TempDir(), "sentinel.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, `port %d
bind 127.0.0.1
requirepass guard
sentinel monitor shop 127.0.0.1 %d 1
sentinel down-after-milliseconds shop 1000
sentinel failover-timeout shop 5000
`, port, primary.port), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, log := exec.Command("redis-sentinel", config), new(output)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatalf("redis-sentinel: %v. Install it: apt-get install redis-sentinel", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	ask := func(words ...string) string {
		out, _ := exec.Command("redis-cli", append([]string{"-p", fmt.Sprint(port), "-a", "guard", "--no-auth-warning", "SENTINEL"}, words...)...).Output()
		return string(out)
	}
	until(t, "the sentinel knows the replica", func() bool {
		return strings.Contains(ask("REPLICAS", "shop"), fmt.Sprint(replica.port))
	})
	return &watched{primary, replica, fmt.Sprintf("redis://realtime:password@127.0.0.1:%d?master_set=shop&sentinel_password=guard", port), ask}
}

// failedOver waits until the sentinel names the replica as the primary.
func (w *watched) failedOver(t testing.TB) {
	t.Helper()
	until(t, "there is a failover", func() bool {
		return strings.Contains(w.ask("GET-MASTER-ADDR-BY-NAME", "shop"), fmt.Sprint(w.replica.port))
	})
}

// detach has the replica miss what is written from now on.
func (w *watched) detach(t testing.TB) {
	t.Helper()
	if err := w.primary.do("ACL", "SETUSER", "default", "-psync", "-sync").Error(); err != nil {
		t.Fatal(err)
	}
	w.primary.do("CLIENT", "KILL", "TYPE", "replica")
	until(t, "the replica is cut off", func() bool {
		return w.replica.replication("master_link_status:down")
	})
}

// publishUntilAccepted publishes until a message is accepted, and returns how many were
// refused before. Their errors must name Redis.
func (m *machine) publishUntilAccepted(l *ledger, app, channel, event string) (refused int) {
	m.t.Helper()
	last := ""
	until(m.t, "publishing goes on", func() bool {
		sent := message(app, channel, event)
		err := m.Publish(m.t.Context(), []*hub.Message{sent})
		if err == nil {
			l.add(sent)
			return true
		}
		refused++
		if err.Error() != last {
			last = err.Error()
			m.t.Log(last)
		}
		if !strings.Contains(err.Error(), "redis at ") {
			m.t.Errorf("a publish is refused without naming redis: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
		return false
	})
	return refused
}

func TestFailoverOfSentinelIsFollowed(t *testing.T) {
	for name, fail := range map[string]func(*redisServer){
		"killed":  (*redisServer).kill,
		"hanging": func(s *redisServer) { s.signal(syscall.SIGSTOP) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := startSentinel(t)
			one, _ := newHolder(t, w.url).open()
			other, _ := newHolder(t, w.url).open()
			id := create(t, one, "shop").App.ID
			knows(t, other, id, "shop")
			nodes := ofNodes(t, w.url, time.Minute, "a", "b")
			var l ledger
			for _, n := range nodes {
				n.subscribe("app", "a", "b")
			}
			for i := range 20 {
				nodes[i%2].publishUntilAccepted(&l, "app", "a", fmt.Sprint(i))
			}
			if n, err := w.primary.do("WAIT", "1", "0").AsInt64(); err != nil || n != 1 {
				t.Fatal(n, err)
			}
			fail(w.primary)
			if refused := nodes[0].publishUntilAccepted(&l, "app", "a", "after"); refused == 0 {
				t.Error("nothing was refused")
			}
			if !w.replica.replication("role:master") {
				t.Error("there was no failover")
			}
			nodes[1].publishUntilAccepted(&l, "app", "b", "after")
			for _, n := range nodes {
				l.expect(n.machine, "app", "a", "b")
				if len(n.moved) > 0 || len(n.lost) > 0 || n.told() != "" {
					t.Errorf("%s: moved %v, lost %v, gone %s", n.id, n.moved, n.lost, n.told())
				}
			}
			until(t, "apps can be changed", func() bool { _, err := one.Create("store"); return err == nil })
			until(t, "the other one knows", func() bool { return count(other) == 2 })
			until(t, "machines can be asked", func() bool { _, err := ask(nodes[0], nodes[1], "who", "?"); return err == nil })

			// The old primary becomes a replica.
			if name == "killed" {
				w.primary.start()
			} else {
				w.primary.signal(syscall.SIGCONT)
			}
			until(t, "the old primary follows", func() bool {
				return w.primary.replication("master_link_status:up")
			})
			nodes[1].publishUntilAccepted(&l, "app", "a", "last")
			for _, n := range nodes {
				l.expect(n.machine, "app", "a", "b")
			}
		})
	}
}

func TestFailoverThatLosesWritesBeginsANewEpoch(t *testing.T) {
	t.Parallel()
	w := startSentinel(t)
	one := newHolder(t, w.url)
	registry, _ := one.open()
	create(t, registry, "shop")
	machines := []*machine{join(t, w.url, ""), join(t, w.url, "")}
	for _, m := range machines {
		m.subscribe("app", "a")
	}
	first := message("app", "a", "kept")
	machines[0].publish(first)
	if n, err := w.primary.do("WAIT", "1", "0").AsInt64(); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	w.detach(t)
	lost := create(t, registry, "lost").App.ID
	for i := range 5 {
		machines[0].publish(message("app", "a", fmt.Sprint("lost ", i)))
	}
	for _, m := range machines {
		until(t, "they arrive", func() bool { return len(m.delivered("app")) == 6 })
	}
	w.primary.kill()
	var l ledger
	machines[1].publishUntilAccepted(&l, "app", "a", "after")
	for _, m := range machines {
		until(t, "the next arrives", func() bool {
			all := m.delivered("app")
			return all[len(all)-1].Event == "after"
		})
		all := m.delivered("app")
		if last := all[len(all)-1]; len(all) != 7 || last.Epoch == first.Epoch {
			t.Errorf("%d messages, the last at %v after %v", len(all), last.Position, first.Position)
		}
		m.mu.Lock()
		if len(m.moved) != 1 || m.moved[0] != all[6].Epoch {
			t.Errorf("moved to %v, not to %s", m.moved, all[6].Epoch)
		}
		m.mu.Unlock()
	}
	knows(t, registry, lost, "")
	one.logged("redis has lost changes of the keystore")
}
