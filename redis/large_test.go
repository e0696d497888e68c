package redis

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/presence"
)

// A counter is a subscriber of a large channel that believes what it is told of it.
type counter struct {
	mu      sync.Mutex // guards everything below
	first   presence.Snapshot
	count   int
	members int // in the last complete list, -1 if the list is not complete
}

func (*counter) ID() string { return "counter" }

// Queue implements hub.Receiver.
func (c *counter) Queue(data any) hub.Flusher {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch d := data.(type) {
	case presence.Joined:
		c.count++
	case presence.Left:
		c.count--
	case presence.Count:
		c.count, c.members = d.Count, -1
	case presence.Full:
		c.count, c.members = d.Count, len(d.Members)
	}
	return nil
}

// watch subscribes a counter.
func (v *venue) watch(channel string) *counter {
	v.t.Helper()
	c := new(counter)
	err := v.hub.Join("app", c).Subscribe(context.Background(), channel, 10, hub.From{}, func(hub.Standing[any]) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.first = v.presence.Snapshot("app", channel)
		c.count = c.first.Count
	})
	if err != nil {
		v.t.Fatal(err)
	}
	return c
}

func (c *counter) get() (count, members int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count, c.members
}

// cost returns how many commands Redis has run, and how many bytes it has received and
// sent.
func (s *redisServer) cost() (commands, bytes int64) {
	s.t.Helper()
	info := s.info()
	return int64(info["total_commands_processed"]), int64(info["total_net_input_bytes"] + info["total_net_output_bytes"])
}

func TestLargeChannelIsCountedOverMachines(t *testing.T) {
	s := startRedis(t)
	all := venues(t, s.url(), "a", "b", "c")
	const each, more = 500, 40
	counters := make([]*counter, len(all))
	for i, v := range all {
		counters[i] = v.watch("c")
	}
	join := func(v *venue, n int) {
		user := fmt.Sprintf("%s%03d", v.id[:1], n)
		v.presence.Join("app", "c", user, []byte(`{"of":"`+user+`"}`))
	}
	// known waits until the machines know so many members.
	known := func(n int, machines ...*venue) {
		t.Helper()
		for _, v := range machines {
			until(t, fmt.Sprintf("%s knows %d members", v.id, n), func() bool { return v.presence.Count("app", "c") == n })
		}
	}
	told := func(n, members int, counters ...*counter) {
		t.Helper()
		for _, c := range counters {
			until(t, fmt.Sprintf("subscribers are told of %d members", n), func() bool {
				count, list := c.get()
				return count == n && list == members
			})
		}
	}
	for n := range each {
		for _, v := range all {
			join(v, n)
		}
	}
	known(3*each, all...)
	told(3*each, -1, counters...)
	for _, v := range all {
		c := v.watch("c")
		if c.first.Count != 3*each || len(c.first.Members) != 1000 || !c.first.Truncated {
			t.Errorf("%d members, %d of them listed, truncated: %t", c.first.Count, len(c.first.Members), c.first.Truncated)
		}
	}

	commands, bytes := s.cost()
	for n := range more {
		join(all[n%3], each+n)
		known(3*each+n+1, all...)
	}
	c, b := s.cost()
	commands, bytes = (c-commands)/more, (b-bytes)/more
	t.Logf("a join among %d members: %d commands, %d bytes", 3*each, commands, bytes)
	if commands > 100 || bytes > 16<<10 { // all members are more than 100 KiB
		t.Error("a join costs more than it should")
	}
	told(3*each+more, -1, counters...)

	// The members of a machine that is killed leave within its lease.
	_, before := s.cost()
	all[2].die()
	left := 3*each + more - each - more/3
	known(left, all[:2]...)
	_, after := s.cost()
	t.Logf("%d members of a machine left with %d bytes", each+more/3, after-before)
	if after-before > 2<<20 {
		t.Error("this is a storm")
	}
	told(left, -1, counters[:2]...)

	// Once it is no longer large, all subscribers get the list.
	for n := range 100 {
		all[0].presence.Leave("app", "c", fmt.Sprintf("a%03d", n))
	}
	known(left-100, all[:2]...)
	told(left-100, left-100, counters[:2]...)
}
