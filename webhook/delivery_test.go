package webhook

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func itoa(n int) string { return strconv.Itoa(n) }

func TestEventsArriveInOrderAndSigned(t *testing.T) {
	r := newReceiver(t, nil)
	m := start(t, Options{})
	other := hookTo(r.URL)
	other.ID, other.App = "hook_2", "other"
	set(t, m, hookTo(r.URL), other)
	before := time.Now().Add(-time.Second)
	emit(m, "shop", 0, 250)
	emit(m, "other", 0, 1)
	emit(m, "nobody", 0, 1)
	r.untilEvents(251)
	var users []arrivedEvent
	for _, a := range r.all() {
		body := a.decode(t)
		if body.ID != a.id || !strings.HasPrefix(a.id, "msg_") || len(body.Events) > 100 || !a.signedBy(testSecret) {
			t.Errorf("%+v", a)
		}
		if at, err := strconv.ParseInt(a.timestamp, 10, 64); err != nil || time.Unix(at, 0).Before(before.Truncate(time.Second)) {
			t.Errorf("timestamp %s", a.timestamp)
		}
		if at, err := time.Parse(time.RFC3339, body.Events[0].Time); err != nil || at.Before(before) || at.After(time.Now()) {
			t.Errorf("time of %+v", body.Events[0])
		}
		if body.App == "shop" {
			users = append(users, body.Events...)
		} else if body.App != "other" || len(body.Events) != 1 {
			t.Errorf("a body of %s", a.body)
		}
	}
	checkUsers(t, users, 0)
	for i, e := range users {
		if e.Seq != uint64(i+1) {
			t.Fatalf("event %d has the number %d", i, e.Seq)
		}
	}
	// The sender counts what the receiver has had already.
	until(t, "delivery of exactly 251 events", func() bool { return m.Stats() == Stats{Delivered: 251} })
}

func TestBodyIsAsDocumented(t *testing.T) {
	r := newReceiver(t, nil)
	m := start(t, Options{})
	hook := hookTo(r.URL)
	hook.Events = Types()
	set(t, m, hook)
	m.Emit(Event{
		Type: ClientEvent, App: "shop", Time: time.Unix(0, 5e6), Channel: "a", User: "42", Connection: "c1", Event: "client-typing",
		Data: []byte("{\n\"on\": true}"),
	})
	m.Emit(Event{Type: Rejected, App: "shop", Time: time.Unix(60, 0), Code: "invalid_token", Count: 3})
	r.untilEvents(2)
	want := `"events":[{"type":"client_event","seq":1,"time":"1970-01-01T00:00:00.005Z","channel":"a","user":"42","connection":"c1","event":"client-typing","data":{"on":true}},` +
		`{"type":"rejected","seq":2,"time":"1970-01-01T00:01:00.000Z","code":"invalid_token","count":3}]}`
	if body := r.all()[0].body; !strings.HasPrefix(body, `{"id":"msg_`) || !strings.Contains(body, `,"app":"shop","time":"`) || !strings.HasSuffix(body, want) {
		t.Error(body)
	}
}

func TestHookGetsOnlyWhatItWants(t *testing.T) {
	all := append(Types(), Dropped, StateReset, Test, "unknown")
	for _, c := range []struct {
		events []string
		prefix string
		want   []string
	}{
		{nil, "", []string{ChannelOccupied, ChannelVacated, MemberJoined, MemberLeft, ClientEvent, Rejected}},
		{Types(), "", Types()},
		{[]string{ConnectionOpened}, "", []string{ConnectionOpened}},
		{Types(), "orders.", Types()},
		{Types(), "presence-", []string{ConnectionOpened, ConnectionClosed, Rejected}},
	} {
		t.Run(fmt.Sprint(c.events, c.prefix), func(t *testing.T) {
			m := start(t, Options{Timing: Timing{Batch: time.Hour}})
			hook := hookTo("http://127.0.0.1:1")
			hook.Events, hook.Prefix = c.events, c.prefix
			set(t, m, hook)
			var got []string
			for _, typ := range all {
				channel := "orders.1"
				if strings.HasPrefix(typ, "connection.") || typ == Rejected {
					channel = ""
				}
				before := m.queued(hook)
				m.Emit(Event{Type: typ, App: "shop", Channel: channel})
				emitted := m.queued(hook) > before
				if emitted != m.Wanted("shop", typ, channel) {
					t.Errorf("%s: Wanted is wrong", typ)
				}
				if emitted {
					got = append(got, typ)
				}
				if m.Wanted("other", typ, channel) {
					t.Errorf("%s is wanted by the hook of another app", typ)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// queued returns how many events a hook was to get.
func (m *Manager) queued(h Hook) int {
	q := m.find(h.App, h.ID)
	q.disk.Lock()
	defer q.disk.Unlock()
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.pending) + int(q.state.Next) - 1
}

func TestReceiverThatFailedGetsEverythingInOrder(t *testing.T) {
	var requests atomic.Int32
	r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
		if n := requests.Add(1); n%3 != 0 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	m := start(t, Options{})
	set(t, m, hookTo(r.URL))
	emit(m, "shop", 0, 333)
	checkUsers(t, r.untilEvents(333), 0)
	bodies := make(map[string]string)
	for _, a := range r.all() {
		if body, again := bodies[a.id]; again && body != a.body {
			t.Errorf("%s changed from\n%s to\n%s", a.id, body, a.body)
		}
		if !a.signedBy(testSecret) {
			t.Errorf("%s is not signed", a.id)
		}
		bodies[a.id] = a.body
	}
	if len(r.all()) < 3*len(bodies) {
		t.Errorf("%d requests for %d batches", len(r.all()), len(bodies))
	}
}

func TestReceiverThatIsDownIsTriedUntilItIsUp(t *testing.T) {
	r := newReceiver(t, nil)
	address := r.Listener.Addr().String()
	r.Close()
	m := start(t, Options{})
	hook := hookTo("http://" + address)
	set(t, m, hook)
	emit(m, "shop", 0, 10)
	until(t, "failures", func() bool { s, _ := m.State("shop", hook.ID); return len(s.Deliveries) >= 3 })
	s, _ := m.State("shop", hook.ID)
	if s.Failing.IsZero() || s.Waiting != 10 || s.Deliveries[0].Status != 0 || !strings.Contains(s.Deliveries[0].Error, "refuses connections") || s.Deliveries[0].Attempt < 3 {
		t.Errorf("%+v", s)
	}
	up := newReceiver(t, nil)
	hook.URL = up.URL
	set(t, m, hook)
	checkUsers(t, up.untilEvents(10), 0)
	until(t, "end of the failure", func() bool { s, _ := m.State("shop", hook.ID); return s.Failing.IsZero() && s.Waiting == 0 })
}

func TestReceiversThatHangCostNobodyElseAnything(t *testing.T) {
	const hanging = 200
	release := make(chan struct{})
	stuck := newReceiver(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	fine := newReceiver(t, nil)
	m := start(t, Options{Timing: Timing{Batch: time.Millisecond, Answer: time.Hour}})
	hooks := []Hook{hookTo(fine.URL)}
	for i := range hanging {
		hook := hookTo(stuck.URL)
		hook.ID, hook.App = "hook_stuck_"+itoa(i), "stuck"
		hooks = append(hooks, hook)
	}
	set(t, m, hooks...)
	emit(m, "stuck", 0, 1)
	until(t, "requests that hang", func() bool { return len(stuck.all()) == hanging })
	emit(m, "shop", 0, 500)
	checkUsers(t, fine.untilEvents(500), 0)
	closeNow(t, m) // does not wait for them either
}

func TestReceiversThatHangAreInALaneOfTheirOwn(t *testing.T) {
	release := make(chan struct{})
	stuck := newReceiver(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	fine := newReceiver(t, nil)
	m := start(t, Options{Timing: Timing{Batch: time.Millisecond, Answer: slowAfter + 500*time.Millisecond, FirstRetry: time.Millisecond, LastRetry: time.Millisecond}})
	m.quick = make(chan struct{}, 3)
	hooks := []Hook{hookTo(fine.URL)}
	for i := range 3 {
		hook := hookTo(stuck.URL)
		hook.ID, hook.App = "hook_stuck_"+itoa(i), "stuck"
		hooks = append(hooks, hook)
	}
	set(t, m, hooks...)
	emit(m, "stuck", 0, 1) // takes all places, once
	until(t, "second attempts", func() bool { return len(stuck.all()) >= 6 })
	if len(m.quick) != 0 || len(m.slow) == 0 {
		t.Errorf("%d places of others are taken, and %d of their own", len(m.quick), len(m.slow))
	}
	emit(m, "shop", 0, 10)
	checkUsers(t, fine.untilEvents(10), 0)
}

func TestLargeAnswerIsNotRead(t *testing.T) {
	const size, chunk = 100 << 20, 64 << 10
	var wrote atomic.Int64
	r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
		for wrote.Load() < size {
			n, err := w.Write(make([]byte, chunk))
			wrote.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	m := start(t, Options{})
	set(t, m, hookTo(r.URL))
	emit(m, "shop", 0, 1)
	r.untilEvents(1)
	if n := wrote.Load(); n >= size/2 {
		t.Errorf("%d bytes of the answer were taken", n)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	secret := newReceiver(t, nil)
	r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", secret.URL)
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	m := start(t, Options{})
	set(t, m, hookTo(r.URL))
	emit(m, "shop", 0, 1)
	until(t, "failures", func() bool { return len(r.all()) >= 3 })
	s, _ := m.State("shop", "hook_1")
	if d := s.Deliveries[0]; d.Status != http.StatusTemporaryRedirect || !strings.Contains(d.Error, "redirects are not followed") {
		t.Errorf("%+v", d)
	}
	if len(secret.all()) > 0 {
		t.Error("the redirect was followed")
	}
}

func TestGoneReceiverDisablesItsHook(t *testing.T) {
	r := newReceiver(t, answering(http.StatusGone))
	var m *Manager
	disabled := make(chan Hook, 10)
	m = start(t, Options{Disabled: func(hook Hook, reason string) {
		if !strings.Contains(reason, "410 Gone") {
			t.Errorf("reason %q", reason)
		}
		hook.Enabled = false
		if err := m.Set([]Hook{hook}); err != nil { // as the gateway does
			t.Error(err)
		}
		disabled <- hook
	}})
	set(t, m, hookTo(r.URL))
	emit(m, "shop", 0, 3)
	hook := <-disabled
	emit(m, "shop", 100, 3) // nobody wants them
	if s, _ := m.State("shop", hook.ID); s.Waiting != 3 || len(r.all()) != 1 {
		t.Errorf("%d requests, %+v", len(r.all()), s)
	}
	if err := m.Test("shop", hook.ID); err != ErrDisabled { //nolint:errorlint // it is that one
		t.Error(err)
	}
	r.answers(nil)
	hook.Enabled = true
	set(t, m, hook)
	events := r.untilEvents(4)
	checkUsers(t, events[:3], 0)
	if events[3].Type != StateReset {
		t.Errorf("%+v", events[3])
	}
	if len(disabled) > 0 {
		t.Error("disabled twice")
	}
}

func TestBatchIsDroppedInTheEndAndThatIsSaid(t *testing.T) {
	r := newReceiver(t, answering(http.StatusServiceUnavailable))
	timing := quickly
	timing.GiveUp = time.Millisecond
	m := start(t, Options{Timing: timing})
	set(t, m, hookTo(r.URL))
	emit(m, "shop", 0, 5)
	until(t, "dropped events", func() bool { return m.Stats().Dropped == 5 })
	until(t, "more attempts", func() bool { return len(r.all()) > 10 })
	r.answers(nil)
	emit(m, "shop", 5, 5)
	until(t, "events", func() bool {
		s, _ := m.State("shop", "hook_1")
		return len(r.events()) > 0 && s.Waiting == 0
	})
	account(t, r.events(), 10)
	if s, _ := m.State("shop", "hook_1"); s.Dropped != m.Stats().Dropped {
		t.Errorf("%+v, %+v", s, m.Stats())
	}
}

// account expects that events and what is said to be dropped are n events, that none
// of their numbers is missing, and that each event has that of its user.
func account(t *testing.T, events []arrivedEvent, n uint64) (dropped uint64) {
	t.Helper()
	var seq uint64
	for _, e := range events {
		count := uint64(1)
		if e.Type == Dropped {
			count = e.Count
			dropped += count
		} else if e.User != strconv.FormatUint(e.Seq-1, 10) {
			t.Errorf("%+v", e)
		}
		if e.Seq != seq+count {
			t.Errorf("the event after number %d is %+v", seq, e)
		}
		seq = e.Seq
	}
	if seq != n {
		t.Errorf("the last number is %d, want %d", seq, n)
	}
	return dropped
}
