package live_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/internal/live"
)

func watch(t *testing.T, f *live.Feeds, app string) *live.Watcher {
	t.Helper()
	w, err := f.Watch(app)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestWatchersAreToldOfTheirAppOnly(t *testing.T) {
	var f live.Feeds
	if f.Watched("a") {
		t.Error("watched by nobody")
	}
	a, also, b := watch(t, &f, "a"), watch(t, &f, "a"), watch(t, &f, "b")
	if !f.Watched("a") || f.Watched("c") {
		t.Error("Watched is wrong")
	}
	data := []byte(`{"id":1}`)
	f.Tell("a", live.Event{Kind: live.Published, Data: data, Subscribers: 3})
	copy(data, "spoiled!") // as the next request overwrites its buffer
	f.Tell("c", live.Event{Kind: live.Published})
	for _, w := range []*live.Watcher{a, also} {
		if e := <-w.Events(); string(e.Data) != `{"id":1}` || e.Size != 8 || e.Time.IsZero() {
			t.Errorf("got %+v", e)
		}
		if got := w.Second(); got != (live.Tally{Published: 1, Deliveries: 3}) {
			t.Errorf("counted %+v", got)
		}
	}
	if len(b.Events()) != 0 {
		t.Error("the event of another app was told")
	}
	a.Close()
	a.Close()
	f.Tell("a", live.Event{Kind: live.Refused})
	if len(a.Events()) != 0 || len(also.Events()) != 1 {
		t.Error("told after Close, or not told to the other")
	}
	also.Close()
	b.Close()
	if f.Watched("a") || f.Watched("b") {
		t.Error("watched after Close")
	}
}

func TestWatcherIsToldOfSomeEventsASecondAndOfHowManyItMissed(t *testing.T) {
	var f live.Feeds
	w := watch(t, &f, "a")
	defer w.Close()
	const storm = 8 * live.PerSecond
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range live.PerSecond {
				f.Tell("a", live.Event{Kind: live.Published, Subscribers: 2})
			}
		})
	}
	wg.Wait()
	if n := len(w.Events()); n != live.PerSecond {
		t.Errorf("told of %d", n)
	}
	want := live.Tally{Published: storm, Deliveries: 2 * storm, Skipped: storm - live.PerSecond}
	if got := w.Second(); got != want {
		t.Errorf("counted %+v", got)
	}
	// A watcher that does not read receives no more, and nobody waits for it.
	f.Tell("a", live.Event{Kind: live.Refused})
	if got := w.Second(); got.Skipped != 1 || got.Refused != 1 {
		t.Errorf("counted %+v", got)
	}
	for range live.PerSecond {
		<-w.Events()
	}
	f.Tell("a", live.Event{Kind: live.Refused})
	if e := <-w.Events(); e.Kind != live.Refused {
		t.Errorf("got %+v", e)
	}
}

func TestUnauthenticatedRefusalsDoNotPushOutTheAppsEvents(t *testing.T) {
	var f live.Feeds
	w := watch(t, &f, "a")
	defer w.Close()
	const flood = 10 * live.PerSecond
	for range 3 { // seconds in which nobody reads
		for range flood {
			f.Tell("a", live.Event{Kind: live.Refused, Unauthenticated: true})
		}
		if got := w.Second(); got.Refused != flood {
			t.Errorf("counted %+v", got)
		}
	}
	if n := len(w.Unauthenticated()); n != live.UnauthenticatedPerSecond {
		t.Errorf("told of %d refusals", n)
	}
	for range live.PerSecond {
		f.Tell("a", live.Event{Kind: live.Published})
	}
	if n := len(w.Events()); n != live.PerSecond {
		t.Errorf("told of %d publishes", n)
	}
	if got := w.Second(); got.Skipped != 0 || got.Published != live.PerSecond {
		t.Errorf("counted %+v", got)
	}
}

func TestLongDataIsLeftOut(t *testing.T) {
	var f live.Feeds
	w := watch(t, &f, "a")
	defer w.Close()
	f.Tell("a", live.Event{Kind: live.Published, Data: []byte(strings.Repeat("1", live.MaxData+1))})
	if e := <-w.Events(); e.Data != nil || e.Size != live.MaxData+1 {
		t.Errorf("%d bytes of %d", len(e.Data), e.Size)
	}
}

func TestEndedWatchersGoAndOthersCome(t *testing.T) {
	var f live.Feeds
	var all []*live.Watcher
	for range live.MaxWatchers {
		all = append(all, watch(t, &f, "a"))
	}
	if _, err := f.Watch("b"); !errors.Is(err, live.ErrTooMany) {
		t.Errorf("one more: %v", err)
	}
	f.End()
	for _, w := range all {
		<-w.Ended()
		w.Close()
	}
	if f.Watched("a") {
		t.Error("watched after End")
	}
	w := watch(t, &f, "b")
	w.Close()
	if f.Watched("b") {
		t.Error("the count is wrong")
	}
}

func BenchmarkTell(b *testing.B) {
	var f live.Feeds
	publish := func() {
		if f.Watched("a") {
			f.Tell("a", live.Event{Kind: live.Published, Channel: "c", Event: "e", Data: []byte(`{"id":1}`)})
		}
	}
	b.Run("nobody watches", func(b *testing.B) {
		for b.Loop() {
			publish()
		}
	})
	w, err := f.Watch("a")
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	b.Run("a watcher has had its events", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			publish()
		}
	})
}
