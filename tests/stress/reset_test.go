package stress

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/tests/client"
	"github.com/seed-c079cc48/caddy-realtime/tests/relay"
)

// talk is a short conversation: connect, subscribe, hear an event. An error is
// how it was cut short.
func talk(cfg client.Config, publish func() error) error {
	subscribed, heard := make(chan struct{}), make(chan struct{})
	var joined, got sync.Once
	cfg.OnPacket = func(packet string) {
		if strings.HasPrefix(packet, `2["subscribed"`) {
			joined.Do(func() { close(subscribed) })
		} else {
			got.Do(func() { close(heard) })
		}
	}
	c, err := client.Dial(cfg)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Subscribe("c"); err != nil {
		return err
	}
	for _, step := range []struct {
		done <-chan struct{}
		then func() error
	}{{subscribed, publish}, {heard, func() error { return closing(c) }}} {
		select {
		case <-step.done:
		case <-c.Done():
			return c.Err()
		case <-time.After(30 * time.Second):
			return fmt.Errorf("stuck: %s", cfg.Transport)
		}
		if err := step.then(); err != nil {
			return err
		}
	}
	return nil
}

// closing ends the session. Its poll can end before the answer to the close is read, which
// the client then no longer waits for.
func closing(c *client.Client) error {
	if err := c.Write("1"); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// The conversation is cut short behind each of its bytes, or behind some of them
// that differ from run to run: in the handshake, in a header, a frame, a body, an
// answer, an upgrade.
func TestAResetAtAnyByteLeavesNothingAndCostsTheOthersNothing(t *testing.T) {
	t.Parallel()
	g := start(t, "ping_interval 2s\n\t\tping_timeout 5s")
	a := g.newApp()
	crowd := g.join(a, "c", mixed(3)...)
	var mu sync.Mutex // events are numbered in the order of their publication
	published := 0
	publish := func() error {
		mu.Lock()
		defer mu.Unlock()
		published++
		_, err := g.publish(a, "c", strconv.Itoa(published))
		return err
	}
	cut := func(transport client.Transport, up, down relay.Fault) (r *relay.Relay, err error) {
		r, err = relay.Start(g.Addr, up, down)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		cfg := a.at(r.Addr())
		cfg.Transport = transport
		return r, talk(cfg, publish)
	}
	before := g.usage()
	for _, transport := range mixed(1) {
		whole, err := cut(transport, relay.Fault{}, relay.Fault{})
		if err != nil {
			t.Fatalf("%s, whole: %v", transport, err)
		}
		up, down := whole.Passed()
		begin, n, short := time.Now(), 0, 0
		var faults [][2]relay.Fault
		step := sized(12, 1)
		first := 1 + rand.IntN(step)
		for at := first; at < up; at += step {
			faults = append(faults, [2]relay.Fault{{Cut: at}})
		}
		for at := first; at < down; at += step {
			faults = append(faults, [2]relay.Fault{1: {Cut: at}})
		}
		each(t, len(faults), 4, func(i int) error {
			_, err := cut(transport, faults[i][0], faults[i][1])
			mu.Lock()
			defer mu.Unlock()
			n++
			if err == nil {
				return nil
			}
			short++
			if strings.HasPrefix(err.Error(), "stuck") {
				return err
			}
			return nil
		})
		t.Logf("%s: %d bytes up and %d down; %d conversations, %d cut short, in %s", transport, up, down, n, short, time.Since(begin))
		if short < n*3/4 { // others' events make some longer or shorter
			t.Errorf("only %d of %d were cut short", short, n)
		}
	}
	g.check(crowd, 1, published)
	g.await("all are gone", 30*time.Second, func() bool { return g.connections(a) == len(crowd.clients) })
	if n := g.metric("connecting"); n != 0 {
		t.Errorf("%v are connecting", n)
	}
	if n, err := g.publish(a, "c", strconv.Itoa(published+1)); n != len(crowd.clients) || err != nil {
		t.Errorf("published to %d, want %d; %v", n, len(crowd.clients), err)
	}
	g.check(crowd, 1, published+1)
	g.settled(before)
	crowd.close(t)
}
