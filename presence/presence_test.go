package presence_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/presence"
)

const grace = 5 * time.Second

// A recorder announces to a list.
type recorder struct {
	*presence.Presence
	t *testing.T

	mu     sync.Mutex // guards everything below
	before func()     // if not nil, is called once before a change is made
	calls  int        // of announce
	events []string   // since the last expect
}

// record runs a test in a bubble, with a Presence.
func record(t *testing.T, test func(r *recorder)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{t: t}
		r.Presence = presence.New(r.announce, func(app string) time.Duration {
			if app == "hasty" {
				return 0
			}
			return grace
		})
		defer r.Close()
		test(r)
	})
}

func (r *recorder) announce(app, _ string, change func() (string, any, bool)) {
	r.mu.Lock()
	before := r.before
	r.before = nil
	r.calls++
	r.mu.Unlock()
	if before != nil {
		before()
	}
	event, data, ok := change()
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, app+" "+strings.TrimPrefix(event, "realtime:")+" "+text(r.t, data))
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (r *recorder) setBefore(do func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.before = do
}

// clear returns what was announced since the last expect.
func (r *recorder) clear() []string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	events := r.events
	r.events = nil
	return events
}

// expect fails the test unless those events were announced since the last call.
func (r *recorder) expect(want ...string) {
	r.t.Helper()
	if got := r.clear(); !slices.Equal(got, want) {
		r.t.Errorf("announced:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func (r *recorder) expectSnapshot(channel, want string) {
	r.t.Helper()
	if got := text(r.t, r.Snapshot("app", channel)); got != want {
		r.t.Errorf("the snapshot is %s, want %s", got, want)
	}
}

// fill lets users join a channel without a grace.
func (r *recorder) fill(n int) {
	for i := range n {
		r.Join("hasty", "c", fmt.Sprint(i), nil)
	}
	r.clear()
}

func TestFirstSocketJoinsAndLastLeaves(t *testing.T) {
	record(t, func(r *recorder) {
		r.Join("app", "c", "ann", json.RawMessage(`{"name":"Ann"}`))
		r.expect(`app joined {"channel":"c","id":"ann","info":{"name":"Ann"}}`)
		r.Join("app", "c", "bob", nil)
		r.expect(`app joined {"channel":"c","id":"bob"}`)
		r.Join("app", "c", "ann", json.RawMessage(`{"name":"Anne"}`))
		r.expect()
		r.expectSnapshot("c", `{"count":2,"members":[{"id":"ann","info":{"name":"Anne"},"sockets":2},{"id":"bob","sockets":1}]}`)
		r.Leave("app", "c", "ann")
		time.Sleep(time.Minute)
		r.expect()
		r.Leave("app", "c", "ann")
		time.Sleep(grace - 1)
		r.expect()
		r.expectSnapshot("c", `{"count":2,"members":[{"id":"ann","info":{"name":"Anne"},"sockets":0},{"id":"bob","sockets":1}]}`)
		time.Sleep(time.Nanosecond)
		r.expect(`app left {"channel":"c","id":"ann"}`)
		r.expectSnapshot("c", `{"count":1,"members":[{"id":"bob","sockets":1}]}`)
	})
}

func TestReloadOfAPageIsSilent(t *testing.T) {
	record(t, func(r *recorder) {
		r.Join("app", "c", "ann", json.RawMessage(`1`))
		r.Join("app", "c", "bob", nil)
		r.expect(`app joined {"channel":"c","id":"ann","info":1}`, `app joined {"channel":"c","id":"bob"}`)
		for range 5 { // each within the grace of its own leave only
			r.Leave("app", "c", "ann")
			time.Sleep(grace - 1)
			r.Join("app", "c", "ann", json.RawMessage(`2`))
			time.Sleep(grace - 1)
		}
		r.expect()
		r.expectSnapshot("c", `{"count":2,"members":[{"id":"ann","info":2,"sockets":1},{"id":"bob","sockets":1}]}`)
	})
}

func TestWithoutGraceTheLastSocketLeavesAtOnce(t *testing.T) {
	record(t, func(r *recorder) {
		r.Join("hasty", "c", "ann", nil)
		r.Leave("hasty", "c", "ann")
		r.expect(`hasty joined {"channel":"c","id":"ann"}`, `hasty left {"channel":"c","id":"ann"}`)
	})
}

func TestUserWhoReturnsAsTheGraceEndsHasNotLeft(t *testing.T) {
	record(t, func(r *recorder) {
		r.Join("app", "c", "ann", nil)
		r.Leave("app", "c", "ann")
		r.expect(`app joined {"channel":"c","id":"ann"}`)
		r.setBefore(func() { r.Join("app", "c", "ann", nil) }) // when the grace has ended
		time.Sleep(grace)
		r.expect()
		r.Leave("app", "c", "ann")
		r.setBefore(func() { // and leaves again: another grace begins
			r.Join("app", "c", "ann", nil)
			r.Leave("app", "c", "ann")
		})
		time.Sleep(grace)
		r.expect()
		time.Sleep(grace)
		r.expect(`app left {"channel":"c","id":"ann"}`)
	})
}

func TestLeavingWithoutHavingJoinedDoesNothing(t *testing.T) {
	record(t, func(r *recorder) {
		r.Leave("app", "c", "ann")
		r.Join("app", "c", "ann", nil)
		r.Leave("app", "c", "bob")
		r.Leave("app", "d", "ann")
		r.Leave("app", "c", "ann")
		r.Leave("app", "c", "ann")
		time.Sleep(time.Minute)
		r.expect(`app joined {"channel":"c","id":"ann"}`, `app left {"channel":"c","id":"ann"}`)
		r.expectSnapshot("c", `{"count":0,"members":[]}`)
		if all := r.Members("app", "c"); len(all) != 0 {
			r.t.Errorf("members are left: %v", all)
		}
	})
}

func TestAppsAreSeparate(t *testing.T) {
	record(t, func(r *recorder) {
		r.Join("app", "c", "ann", nil)
		r.Join("other", "c", "bob", nil)
		r.Join("app", "b", "ann", nil)
		r.Join("app", "a", "amy", nil)
		for app, want := range map[string]string{"app": "[amy ann]", "other": "[bob]", "third": "[]"} {
			if got := fmt.Sprint(r.Users(app)); got != want {
				r.t.Errorf("the users of %s are %s, want %s", app, got, want)
			}
		}
		if got := fmt.Sprint(r.ChannelsOf("app", "ann"), r.ChannelsOf("other", "ann"), r.ChannelsOf("third", "ann")); got != "[c b] [] []" {
			r.t.Errorf("the channels of ann are %s", got)
		}
		r.expectSnapshot("c", `{"count":1,"members":[{"id":"ann","sockets":1}]}`)
	})
}

func TestForgottenAppLeavesSilently(t *testing.T) {
	record(t, func(r *recorder) {
		r.Join("app", "c", "ann", nil)
		r.Join("app", "c", "bob", nil)
		r.Join("other", "c", "ann", nil)
		r.Leave("app", "c", "ann")
		r.expect(`app joined {"channel":"c","id":"ann"}`, `app joined {"channel":"c","id":"bob"}`, `other joined {"channel":"c","id":"ann"}`)
		r.Forget("app")
		r.Forget("nowhere")
		calls := r.calls
		r.Leave("app", "c", "bob")
		time.Sleep(time.Minute)
		r.expect()
		if r.calls != calls { // the hub would create records of the app
			r.t.Errorf("announce was called %d times", r.calls-calls)
		}
		if app, other := r.Users("app"), r.Users("other"); len(app) != 0 || len(other) != 1 {
			r.t.Errorf("users are left: %v, %v", app, other)
		}
	})
}

func TestNothingIsAnnouncedAfterClose(t *testing.T) {
	record(t, func(r *recorder) { // the bubble fails if a goroutine is left
		r.Join("app", "c", "ann", nil)
		r.Leave("app", "c", "ann")
		r.expect(`app joined {"channel":"c","id":"ann"}`)
		r.Close()
		time.Sleep(time.Minute)
		r.expect()
	})
}

func TestLargeChannelIsToldItsCount(t *testing.T) {
	record(t, func(r *recorder) {
		user := func(i int) string { return fmt.Sprintf("u%04d", i) }
		for i := range presence.Most {
			r.Join("app", "c", user(i), nil)
		}
		if joined := len(r.clear()); joined != presence.Most {
			r.t.Fatalf("%d have joined", joined)
		}
		if s := r.Snapshot("app", "c"); s.Truncated || len(s.Members) != presence.Most {
			r.t.Errorf("a full snapshot has %d members, truncated: %t", len(s.Members), s.Truncated)
		}
		for i := range 500 {
			r.Join("app", "c", user(1000+i), nil)
		}
		r.expect(`app presence {"channel":"c","count":1001}`)
		time.Sleep(time.Second)
		r.expect(`app presence {"channel":"c","count":1500}`)
		s := r.Snapshot("app", "c")
		if !s.Truncated || s.Count != 1500 || len(s.Members) != presence.Most || s.Members[999].ID != user(999) {
			r.t.Errorf("the snapshot has %d of %d members, truncated: %t", len(s.Members), s.Count, s.Truncated)
		}
		if all := r.Members("app", "c"); len(all) != 1500 {
			r.t.Errorf("%d members", len(all))
		}
		time.Sleep(time.Minute)
		r.expect()
		for i := range 1499 {
			r.Leave("app", "c", user(i))
		}
		time.Sleep(grace)
		r.expect(`app presence {"channel":"c","count":1499}`)
		time.Sleep(time.Second)
		r.expect(`app presence {"channel":"c","count":1,"members":[{"id":"u1499","sockets":1}]}`)
		r.Join("app", "c", "ann", nil)
		r.expect(`app joined {"channel":"c","id":"ann"}`)
		r.expectSnapshot("c", `{"count":2,"members":[{"id":"u1499","sockets":1},{"id":"ann","sockets":1}]}`)
	})
}

// Around the limit, the members are sent every 10 s at most.
func TestChannelStaysLargeForAWhile(t *testing.T) {
	record(t, func(r *recorder) {
		r.fill(presence.Most)
		for range 60 { // for 30 s
			r.Join("hasty", "c", "ann", nil)
			time.Sleep(250 * time.Millisecond)
			r.Leave("hasty", "c", "ann")
			time.Sleep(250 * time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		full, counts := 0, 0
		for _, event := range r.clear() {
			switch {
			case strings.Contains(event, "members"):
				full++
			case strings.Contains(event, "count"):
				counts++
			default:
				r.t.Errorf("announced: %s", event)
			}
		}
		if full < 2 || full > 4 || counts < 20 || counts > 40 {
			r.t.Errorf("the members were announced %d times, the count %d times", full, counts)
		}
		if s := r.Snapshot("hasty", "c"); s.Truncated || s.Count != presence.Most {
			r.t.Errorf("it has %d members at the end, truncated: %t", s.Count, s.Truncated)
		}
	})
}

// A subscriber whose snapshot has a count that is not announced yet is told, too,
// if it is taken back.
func TestSubscriberOfALargeChannelKnowsACountThatIsTakenBack(t *testing.T) {
	record(t, func(r *recorder) {
		r.fill(presence.Most + 1)
		r.Join("hasty", "c", "ann", nil)
		if s := r.Snapshot("hasty", "c"); s.Count != presence.Most+2 {
			r.t.Fatalf("the count is %d", s.Count)
		}
		r.Leave("hasty", "c", "ann")
		r.clear()
		time.Sleep(time.Second)
		r.expect(`hasty presence {"channel":"c","count":1001}`)
	})
}

func TestAllOfALargeChannelLeave(t *testing.T) {
	record(t, func(r *recorder) {
		r.fill(2 * presence.Most)
		for i := range 2 * presence.Most {
			r.Leave("hasty", "c", fmt.Sprint(i))
		}
		r.expect()
		time.Sleep(time.Second)
		r.expect(`hasty presence {"channel":"c","count":0}`)
		time.Sleep(9 * time.Second)
		r.expect(`hasty presence {"channel":"c","count":0,"members":[]}`)
		time.Sleep(time.Hour)
		r.expect()
	})
}
