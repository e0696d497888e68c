package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/cluster"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/random"
)

// shortLease is long enough for a busy machine to renew it.
const shortLease = 3 * time.Second

// A node is a machine of a cluster, and what its handler was told.
type node struct {
	*machine
	id      string
	answers func(ctx context.Context, question string, body []byte) ([]byte, error)

	mu   sync.Mutex // guards gone
	gone []string
}

// Answer implements cluster.Handler.
func (n *node) Answer(ctx context.Context, question string, body []byte) ([]byte, error) {
	if n.answers != nil {
		return n.answers(ctx, question, body)
	}
	return append([]byte(n.id+" "+question+" "), body...), nil
}

// Gone implements cluster.Handler.
func (n *node) Gone(m cluster.Machine) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.gone = append(n.gone, m.ID)
}

// told returns the machines that Gone was called for.
func (n *node) told() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.gone, " ")
}

func (n *node) knows() string {
	var ids []string
	for _, m := range n.Machines() {
		ids = append(ids, m.ID)
	}
	return strings.Join(ids, " ")
}

// node joins a machine to the cluster of a prefix.
func newNode(t testing.TB, url, prefix, name string, lease time.Duration) *node {
	t.Helper()
	n := &node{machine: join(t, url, prefix), id: name + strings.Repeat("0", cluster.IDLength-len(name))}
	n.broker.lease = lease
	if err := n.Join(cluster.Machine{ID: n.id, Version: "v1", Started: time.Now()}, n); err != nil {
		t.Fatal(err)
	}
	return n
}

// ofNodes returns several machines that know each other.
func ofNodes(t testing.TB, url string, lease time.Duration, names ...string) (all []*node) {
	t.Helper()
	for _, name := range names {
		all = append(all, newNode(t, url, "", name, lease))
	}
	know(t, all...)
	return all
}

// know waits until the machines know each other, and nobody else.
func know(t testing.TB, all ...*node) {
	t.Helper()
	var ids []string
	for _, n := range all {
		ids = append(ids, n.id)
	}
	want := strings.Join(ids, " ") // names are in order
	for _, n := range all {
		until(t, fmt.Sprintf("%s knows %s, not %s", n.id, want, n.knows()), func() bool { return n.knows() == want })
	}
}

// die cuts a machine off from Redis for good, as if its process were killed. It is
// suspended, too, because a client that has reconnected before can survive Close.
func (n *node) die() {
	n.client.Close()
	n.t.Cleanup(n.suspend())
}

// suspend stops a machine, as SIGSTOP does, until the returned function is called.
func (n *node) suspend() (resume func()) {
	m := n.member()
	m.mu.Lock()
	return m.mu.Unlock
}

func ask(n *node, machine *node, question, body string) (string, error) {
	answer, err := n.Ask(n.t.Context(), machine.id, question, []byte(body))
	return string(answer), err
}

func TestMachinesKnowEachOtherAtOnce(t *testing.T) {
	s := startRedis(t)
	all := ofNodes(t, s.url(), time.Hour, "a", "b", "c") // no renewal that would tell, either
	all[0].Update(cluster.Machine{ID: "ignored", Address: "http://10.0.0.1:9001", Version: "v2"})
	for _, n := range all {
		until(t, "the address is known", func() bool {
			first := n.Machines()[0]
			return first.ID == all[0].id && first.Address == "http://10.0.0.1:9001" && first.Version == "v2"
		})
	}
}

func TestMachineThatLeavesIsGoneAtOnce(t *testing.T) {
	s := startRedis(t)
	all := ofNodes(t, s.url(), time.Hour, "a", "b", "c")
	if err := all[1].Close(); err != nil {
		t.Fatal(err)
	}
	know(t, all[0], all[2])
	for _, n := range []*node{all[0], all[2]} {
		until(t, "gone is called", func() bool { return n.told() == all[1].id })
	}
}

func TestKilledMachineIsGoneWhenItsLeaseEnds(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	all := ofNodes(t, s.url(), shortLease, "a", "b", "c")
	all[2].die()
	know(t, all[0], all[1])
	for _, n := range all[:2] {
		until(t, "gone is called", func() bool { return n.told() == all[2].id })
	}
	if _, err := ask(all[0], all[2], "who", ""); !errors.Is(err, cluster.ErrUnknown) {
		t.Error(err)
	}
}

func TestMachineThatWasSuspendedIsLostAndComesBack(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	all := ofNodes(t, s.url(), shortLease, "a", "b", "c")
	resume := all[2].suspend()
	know(t, all[0], all[1])
	resume()
	know(t, all...)
	for _, n := range all[:2] {
		until(t, "gone is called", func() bool { return n.told() == all[2].id })
	}
	if got := all[2].told(); got != "" {
		t.Errorf("for the machine that was suspended, %s are gone", got)
	}
	if got, err := ask(all[0], all[2], "who", "?"); err != nil || got != all[2].id+" who ?" {
		t.Error(got, err)
	}
}

// One machine did not look between the loss and the return of another.
func TestLossIsToldThoughTheMachineIsBackAlready(t *testing.T) {
	s := startRedis(t)
	all := ofNodes(t, s.url(), shortLease, "a", "b", "c")
	s.do("HDEL", machinesName(defaultPrefix)+"alive", all[2].id)
	all[2].member().lookSoon()
	for _, n := range all[:2] {
		until(t, "gone is called", func() bool { return n.told() == all[2].id })
	}
	know(t, all...)
}

func TestNobodyIsGoneWhenRedisLosesItsData(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	all := ofNodes(t, s.url(), shortLease, "a", "b", "c", "d")
	secret, err := all[0].Secret(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	resume := all[3].suspend() // it comes back late, but within a lease
	s.kill()
	s.start()
	key := machinesName(defaultPrefix) + "alive"
	until(t, "the others are back", func() bool {
		all, _ := s.do("HKEYS", key).AsStrSlice()
		return len(all) == 3+3
	})
	resume()
	until(t, "all are back", func() bool {
		all, _ := s.do("HKEYS", key).AsStrSlice()
		return len(all) == 3+4
	})
	know(t, all...)
	for _, n := range all {
		if got := n.told(); got != "" {
			t.Errorf("for %s, %s are gone", n.id, got)
		}
	}
	late := newNode(t, s.url(), "", "e", shortLease)
	if got, err := late.Secret(t.Context()); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("the secret became another, %v", err)
	}

	// A machine that does not come back is gone after all.
	know(t, append(all, late)...)
	all[3].die()
	s.do("FLUSHALL")
	know(t, all[0], all[1], all[2], late)
}

func TestNobodyIsGoneWhileRedisDoesNotAnswer(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	all := ofNodes(t, s.url(), shortLease, "a", "b", "c")
	s.signal(syscall.SIGSTOP)
	time.Sleep(shortLease * 3 / 2) // the condition is the time itself
	s.signal(syscall.SIGCONT)
	until(t, "questions are answered", func() bool { _, err := ask(all[0], all[1], "who", ""); return err == nil })
	calls := func() int64 {
		n, _ := s.do("HGET", machinesName(defaultPrefix)+"alive", "n").AsInt64()
		return n
	}
	for before := calls(); ; {
		if calls() > before+20 { // each has renewed its lease several times
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	know(t, all...)
	for _, n := range all {
		if got := n.told(); got != "" {
			t.Errorf("for %s, %s are gone", n.id, got)
		}
	}
}

func TestPrefixesAreClustersOfTheirOwn(t *testing.T) {
	s := startRedis(t)
	one, other := newNode(t, s.url(), "", "a", shortLease), newNode(t, s.url(), "shop", "b", shortLease)
	first, err1 := one.Secret(t.Context())
	second, err2 := other.Secret(t.Context())
	if err := errors.Join(err1, err2); err != nil || len(first) != secretSize || bytes.Equal(first, second) {
		t.Errorf("secrets of %d and %d bytes, %v", len(first), len(second), err)
	}
	know(t, one)
	know(t, other)
	if _, err := ask(one, other, "who", ""); !errors.Is(err, cluster.ErrUnknown) {
		t.Error(err)
	}
}

func TestJoiningNeedsAnID(t *testing.T) {
	s := startRedis(t)
	m := s.join("")
	for _, id := range []string{"", "n", "a:b c\x00de", random.Text(cluster.IDLength + 1)} {
		if m.Join(cluster.Machine{ID: id}, &node{}) == nil {
			t.Errorf("%q joins", id)
		}
	}
	n := newNode(t, s.url(), "", "a", shortLease)
	if n.Join(cluster.Machine{ID: random.Text(cluster.IDLength)}, n) == nil {
		t.Error("a machine joins twice")
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := m.Join(cluster.Machine{ID: random.Text(cluster.IDLength)}, n); !errors.Is(err, hub.ErrStopped) {
		t.Error(err)
	}
}

func TestMachinesInACluster(t *testing.T) {
	t.Parallel()
	servers := startCluster(t)
	var all []*node
	for i, name := range []string{"a", "b", "c"} {
		all = append(all, newNode(t, servers[i].url(), "", name, shortLease))
	}
	know(t, all...)
	answers, err := all[1].AskAll(t.Context(), "who", []byte("?"))
	if err != nil || len(answers) != 2 || string(answers[1].Body) != all[2].id+" who ?" {
		t.Error(answers, err)
	}
	all[2].die()
	know(t, all[0], all[1])
}
