package redis

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"go.uber.org/zap/zapcore"
)

const zapLevel = zapcore.ErrorLevel

// ofMachines returns several machines on one server.
func ofMachines(s *redisServer, n int) (all []*machine) {
	for range n {
		all = append(all, s.join(""))
	}
	return all
}

func TestInterestedMachinesGetEachMessageOnceAndInOrder(t *testing.T) {
	t.Parallel()
	machines := ofMachines(startRedis(t), 3)
	channels := []string{"a", "b", "c"}
	for i, m := range machines {
		m.subscribe("app", channels[:i+1]...)
	}
	var l ledger
	var publishing sync.WaitGroup
	for n, m := range machines {
		for p := range 8 {
			publishing.Go(func() {
				for i := range 40 {
					all := []*hub.Message{message("app", channels[i%3], fmt.Sprint(n, p, i)), message("app", "c", fmt.Sprint(n, p, i, "c"))}
					m.publish(all...)
					if all[1].Offset != all[0].Offset+1 {
						t.Errorf("a batch has the offsets %d and %d", all[0].Offset, all[1].Offset)
					}
					l.add(all...)
				}
			})
		}
	}
	publishing.Wait()
	if n := len(l.all); n != 3*8*40*2 {
		t.Errorf("%d different ids", n)
	}
	for i, m := range machines {
		l.expect(m, "app", channels[:i+1]...)
	}
}

func TestMessageArrivesAsItWasPublished(t *testing.T) {
	t.Parallel()
	machines := ofMachines(startRedis(t), 2)
	for i, channel := range []string{"plain", hub.Hidden("user\x00:7\n{}"), "a:b", "", "\xff\xfe"} {
		app := fmt.Sprint("app:", i)
		sent := []*hub.Message{
			{Channel: channel, Event: "all", Data: []byte("{\"x\":\"\\u0000\n\"}"), Except: "socket 1", Keep: hub.Keep{Messages: 3, Age: time.Minute}},
			{Channel: channel, Event: "no data"},
			{Channel: channel, Event: "not kept", Data: []byte("null"), NoHistory: true, Keep: hub.Keep{Messages: 3, Age: time.Minute}},
		}
		machines[1].subscribe(app, channel)
		for _, m := range sent {
			m.App = app
		}
		machines[0].publish(sent...)
		until(t, "all arrive", func() bool { return len(machines[1].delivered(app)) == len(sent) })
		for i, got := range machines[1].delivered(app) {
			want := *sent[i]
			if !reflect.DeepEqual(got, &want) {
				t.Errorf("channel %q: got %+v, want %+v", channel, *got, want)
			}
		}
	}
	if n := len(machines[0].got); n != 0 {
		t.Errorf("a machine that nobody subscribed on got messages of %d apps", n)
	}
}

func TestPublisherLearnsTheSubscribersOfItsMachine(t *testing.T) {
	m := startRedis(t).join("")
	m.subscribe("app", "a")
	sent := message("app", "a", "e")
	if m.publish(sent); sent.Subscribers != 1 || sent.Offset != 1 || sent.Epoch == "" {
		t.Errorf("%+v", sent)
	}
}

func TestChannelWithoutSubscribersIsNoLongerReceived(t *testing.T) {
	m := startRedis(t).join("")
	m.subscribe("app", "a", "b")
	m.publish(message("app", "a", "1"))
	until(t, "the first arrives", func() bool { return len(m.delivered("app")) == 1 })
	m.leave("app", "a")
	m.publish(message("app", "a", "2"), message("app", "b", "3"))
	until(t, "the third arrives", func() bool { return len(m.delivered("app")) == 2 })
	m.subscribe("app", "a")
	m.publish(message("app", "a", "4"))
	until(t, "the fourth arrives", func() bool { return len(m.delivered("app")) == 3 })
	for i, event := range []string{"1", "3", "4"} {
		if got := m.delivered("app")[i].Event; got != event {
			t.Errorf("got %s, want %s", got, event)
		}
	}
}

func TestPrefixesShareNothing(t *testing.T) {
	s := startRedis(t)
	one, other := s.join("one"), s.join("other")
	one.subscribe("app", "a")
	other.subscribe("app", "a")
	sent := []*hub.Message{message("app", "a", "one"), message("app", "a", "other")}
	one.publish(sent[0])
	other.publish(sent[1])
	if sent[0].Offset != 1 || sent[1].Offset != 1 || sent[0].Epoch == sent[1].Epoch {
		t.Errorf("%v and %v", sent[0].Position, sent[1].Position)
	}
	for _, m := range []*machine{one, other} {
		until(t, "the message", func() bool { return len(m.delivered("app")) == 1 })
	}
	if one.delivered("app")[0].Event != "one" || other.delivered("app")[0].Event != "other" {
		t.Error("got the other prefix's message")
	}
}

func TestForgottenAppBeginsANewEpoch(t *testing.T) {
	s := startRedis(t)
	m := s.join("")
	first, second := message("app", "a", "1"), message("app", "a", "2")
	m.publish(first)
	m.Forget("app")
	until(t, "its position is gone", func() bool {
		n, err := s.do("EXISTS", baseName("rt", "app")+"m").AsInt64()
		return err == nil && n == 0
	})
	if m.publish(second); second.Epoch == first.Epoch || second.Offset != 1 {
		t.Errorf("%v after %v", second.Position, first.Position)
	}
}

func TestHistoryIsBoundedInMessagesAndAge(t *testing.T) {
	s := startRedis(t)
	m, reader := s.join(""), s.join("")
	a := m.app("app")
	for _, c := range []struct {
		channel string
		keep    []int // of each message
		want    int   // in the history after the last one
	}{
		{"few", slices.Repeat([]int{5}, 20), 5},
		{"one", slices.Repeat([]int{1}, 300), 1},
		{"many", slices.Repeat([]int{100}, 350), 100},
		{"fewer since", append(slices.Repeat([]int{100}, 20), 3, 100, 100), 5},
		{"more since", append(slices.Repeat([]int{3}, 20), 100, 100), 5},
	} {
		var last *hub.Message
		for i, keep := range c.keep {
			last = message("app", c.channel, fmt.Sprint(i))
			last.Keep = hub.Keep{Messages: keep, Age: time.Minute}
			m.publish(last)
		}
		past := reader.fill("app", c.channel).past
		if n := len(past); n != c.want || past[n-1].Offset != last.Offset || past[0].Event != fmt.Sprint(len(c.keep)-n) {
			t.Errorf("%s: %d messages, want %d", c.channel, n, c.want)
		}
		key := a.streamKey(last.Epoch, c.channel)
		if n, err := s.do("XLEN", key).AsInt64(); err != nil || int(n) > c.want+200 {
			t.Errorf("%s: Redis keeps %d messages, %v", c.channel, n, err)
		}
		if ms, err := s.do("PTTL", key).AsInt64(); err != nil || ms < 60_000 || ms > 75_000 {
			t.Errorf("%s: they are kept for %d ms, %v", c.channel, ms, err)
		}
	}
	unkept := message("app", "b", "e")
	unkept.NoHistory = true
	m.publish(unkept)
	if n, err := s.do("EXISTS", a.streamKey(unkept.Epoch, "b")).AsInt64(); err != nil || n != 0 {
		t.Errorf("%d streams of a channel that keeps nothing, %v", n, err)
	}
}

func TestOffsetOfAChannelIsKnownAsLongAsItsHistory(t *testing.T) {
	s := startRedis(t)
	m := s.join("")
	a := m.app("app")
	left := func(key string) time.Duration {
		t.Helper()
		ms, err := s.do("PTTL", key).AsInt64()
		if err != nil {
			t.Fatal(err)
		}
		return time.Duration(ms) * time.Millisecond
	}
	for name, ages := range map[string][]time.Duration{
		"short":         {time.Minute, time.Minute},
		"long":          {3 * time.Hour, 3 * time.Hour},
		"shorter since": {3 * time.Hour, time.Minute},
		"longer since":  {time.Minute, 3 * time.Hour},
	} {
		var last *hub.Message
		for _, age := range ages {
			last = message("app", name, "e")
			last.Keep.Age = age
			m.publish(last)
		}
		place := left(a.placeKey(last.Epoch, name))
		if stream := left(a.streamKey(last.Epoch, name)); place < stream {
			t.Errorf("%s: the offset expires after %s, the messages after %s", name, place, stream)
		}
		// The marks of fill.lua are in seconds, and clocks of servers differ.
		if place < time.Hour+time.Minute-patience/2 {
			t.Errorf("%s: the offset expires after %s", name, place)
		}
	}
}

func TestClosedBrokerRefuses(t *testing.T) {
	m := startRedis(t).join("")
	m.subscribe("app", "a")
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := m.Publish(t.Context(), []*hub.Message{message("app", "a", "e")}); !errors.Is(err, hub.ErrStopped) {
		t.Errorf("publish: %v", err)
	}
	if err := m.Interest(t.Context(), "app", "b", true); !errors.Is(err, hub.ErrStopped) {
		t.Errorf("interest: %v", err)
	}
}

func TestServerThatIsAwayIsNamedSoon(t *testing.T) {
	s := startRedis(t)
	m := join(t, strings.Replace(s.url(), "//", "//default:@", 1), "")
	m.subscribe("app", "a")
	s.kill()
	until(t, "publishing fails", func() bool {
		began := time.Now()
		err := m.Publish(t.Context(), []*hub.Message{message("app", "a", "e")})
		if took := time.Since(began); took > patience/2 {
			t.Errorf("it took %v", took)
		}
		return err != nil && strings.Contains(err.Error(), fmt.Sprint("redis at 127.0.0.1:", s.port))
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := m.Interest(ctx, "app", "b", true); err == nil || !strings.Contains(err.Error(), "redis at 127.0.0.1:") {
		t.Errorf("interest: %v", err)
	}
	if err := m.Interest(t.Context(), "app", "a", false); err != nil {
		t.Errorf("its end: %v", err)
	}
}

func TestBrokerInACaddyfile(t *testing.T) {
	var b Broker
	d := caddyfile.NewTestDispenser("redis redis://:secret@10.0.0.5:6379/2 {\n\tprefix shop\n\tdurability replica\n}")
	if err := b.UnmarshalCaddyfile(d); err != nil {
		t.Fatal(err)
	}
	if err := b.provision("broker"); err != nil {
		t.Fatal(err)
	}
	if got := b.Identity(); got != "redis://10.0.0.5:6379/2 shop durability replica" {
		t.Errorf("identity %q", got)
	}
	wantError(t, b.UnmarshalCaddyfile(caddyfile.NewTestDispenser("redis redis://a {\n copy /x\n}")), "write keystore redis <url> with copy in its block, and broker redis <url>")
}

func BenchmarkPublish(b *testing.B) {
	m := startRedis(b).join("")
	for _, publishers := range []int{1, 16} {
		for _, size := range []int{1, 100} {
			b.Run(fmt.Sprintf("publishers=%d/batch=%d", publishers, size), func(b *testing.B) {
				var publishing sync.WaitGroup
				var published atomic.Int64
				for range publishers {
					publishing.Go(func() {
						all := make([]*hub.Message, size)
						for i := range all {
							all[i] = message("app", fmt.Sprint("c", i), "e")
							all[i].Keep = hub.Keep{Messages: 100, Age: 2 * time.Minute}
						}
						for published.Add(1) <= int64(b.N) {
							m.publish(all...)
						}
					})
				}
				publishing.Wait()
			})
		}
	}
}
