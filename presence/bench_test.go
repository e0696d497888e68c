package presence_test

import (
	"encoding/json"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/presence"
)

// crowd returns a Presence with that many channels and members in each, and the
// memory of a member.
func crowd(tb testing.TB, channels, members int) (p *presence.Presence, bytes float64) {
	tb.Helper()
	before := heap()
	p = presence.New(func(_, _ string, change func() (string, any, bool)) { change() }, func(string) time.Duration { return time.Minute })
	tb.Cleanup(p.Close)
	for c := range channels {
		channel := fmt.Sprint("presence-room.", c)
		for m := range members {
			p.Join("app", channel, fmt.Sprint("user-", c*members+m), json.RawMessage(`{"name":"Ann"}`))
		}
	}
	return p, float64(heap()-before) / float64(channels*members)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

var sizes = []struct {
	name              string
	channels, members int
}{
	{"1 channel of 10", 1, 10},
	{"1 channel of 1000", 1, 1000},
	{"1 channel of 10000", 1, 10_000},
	{"100000 channels of 1", 100_000, 1},
}

func BenchmarkJoinAndLeave(b *testing.B) {
	for _, size := range sizes {
		b.Run(size.name, func(b *testing.B) {
			p, bytes := crowd(b, size.channels, size.members)
			info := json.RawMessage(`{"name":"Bob"}`)
			b.ReportAllocs()
			for b.Loop() {
				p.Join("app", "presence-room.0", "user-0", info)
				p.Leave("app", "presence-room.0", "user-0")
				p.Leave("app", "presence-room.0", "user-0")
				p.Join("app", "presence-room.0", "user-0", info)
			}
			b.ReportMetric(bytes, "B/member")
		})
	}
}

// All members leave, and the timers of their graces fill the heap.
func BenchmarkLeaveOfAll(b *testing.B) {
	users := make([]string, 10_000)
	for i := range users {
		users[i] = fmt.Sprint("user-", i)
	}
	p, _ := crowd(b, 1, len(users))
	b.ReportAllocs()
	for b.Loop() {
		for _, user := range users {
			p.Leave("app", "presence-room.0", user)
		}
		for _, user := range users {
			p.Join("app", "presence-room.0", user, nil)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(users)), "ns/member")
}

func BenchmarkSnapshotOf1000(b *testing.B) {
	p, _ := crowd(b, 1, presence.Most)
	b.ReportAllocs()
	for b.Loop() {
		p.Snapshot("app", "presence-room.0")
	}
}

func BenchmarkSnapshotOf1000AsJSON(b *testing.B) {
	p, _ := crowd(b, 1, presence.Most)
	for b.Loop() {
		if _, err := json.Marshal(p.Snapshot("app", "presence-room.0")); err != nil {
			b.Fatal(err)
		}
	}
}

func TestMemberTakesLittleMemory(t *testing.T) {
	for _, size := range sizes[2:] {
		if _, bytes := crowd(t, size.channels, size.members); bytes > 700 {
			t.Errorf("%s: a member takes %.0f bytes", size.name, bytes)
		}
	}
}
