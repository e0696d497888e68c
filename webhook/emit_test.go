package webhook

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
)

func TestConcurrentEmittersLoseNothing(t *testing.T) {
	r := newReceiver(t, nil)
	m := start(t, Options{})
	set(t, m, hookTo(r.URL))
	const emitters, each = 8, 250
	var all sync.WaitGroup
	for e := range emitters {
		all.Go(func() {
			for i := range each {
				m.Emit(Event{Type: MemberJoined, App: "shop", Channel: itoa(e), User: itoa(i)})
			}
		})
	}
	all.Wait()
	next := make(map[string]int)
	for i, e := range r.untilEvents(emitters * each) {
		if e.User != itoa(next[e.Channel]) || e.Seq != uint64(i+1) {
			t.Fatalf("event %d is %+v, want user %d", i, e, next[e.Channel])
		}
		next[e.Channel]++
	}
}

func TestUnwantedEventTakesNoMemory(t *testing.T) {
	m := start(t, Options{})
	hook := hookTo("http://127.0.0.1:1")
	hook.Prefix = "orders."
	set(t, m, hook)
	e := Event{Type: MemberJoined, App: "shop", Channel: "presence-room.1", User: "42"}
	if n := testing.AllocsPerRun(1000, func() { m.Emit(e); m.Wanted(e.App, e.Type, e.Channel) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestManagerTakesLittleMemory(t *testing.T) {
	const most = 256 << 10
	before := heap()
	m := start(t, Options{})
	if took := heap() - before; took > most {
		t.Errorf("a manager takes %d bytes", took)
	}
	const hooks = 300
	all := make([]Hook, hooks)
	for i := range all {
		all[i] = hookTo("http://127.0.0.1:1")
		all[i].ID, all[i].App = "hook_"+itoa(i), "app_"+itoa(i)
	}
	before = heap()
	set(t, m, all...)
	if took := (heap() - before) / hooks; took > 4<<10 {
		t.Errorf("a hook takes %d bytes", took)
	}
	runtime.KeepAlive(m)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	before := heap()
	var m *Manager
	for b.Loop() {
		if m != nil {
			if err := m.Close(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		var err error
		if m, err = Open(Options{Dir: dir, Logger: zap.NewNop()}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(heap()-before), "B/manager")
	if err := m.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// The cost for the caller; the writer encodes and writes later.
func BenchmarkEmit(b *testing.B) {
	for _, c := range []struct {
		name        string
		apps, hooks int
		app         string
		typ         string
	}{
		{"no hooks", 0, 0, "app_0", MemberJoined},
		{"another app", 1000, 1, "app_x", MemberJoined},
		{"unwanted by 10 hooks", 1, 10, "app_0", ConnectionOpened},
		{"wanted by 1 hook", 1, 1, "app_0", MemberJoined},
		{"wanted by 10 hooks", 1, 10, "app_0", MemberJoined},
	} {
		b.Run(c.name, func(b *testing.B) {
			m, err := Open(Options{Dir: b.TempDir(), Logger: zap.NewNop(), Timing: Timing{Gather: time.Hour}})
			if err != nil {
				b.Fatal(err)
			}
			var hooks []Hook
			for app := range c.apps {
				for h := range c.hooks {
					hooks = append(hooks, Hook{
						ID: fmt.Sprintf("hook_%d_%d", app, h), App: "app_" + itoa(app), URL: "http://127.0.0.1:1", Enabled: true, Secrets: [][]byte{testSecret},
					})
				}
			}
			if err := m.Set(hooks); err != nil {
				b.Fatal(err)
			}
			e := Event{Type: c.typ, App: c.app, Channel: "presence-room.1", User: "42", Time: time.Now()}
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				m.Emit(e)
				if n%1000 == 999 {
					for _, q := range m.queues {
						q.take()
					}
				}
			}
			b.StopTimer()
			if err := m.Close(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}
