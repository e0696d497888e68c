// Package admittest is the tests of what publishes on terms promise, for every broker.
package admittest

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/idempotent"
	"github.com/seed-c079cc48/caddy-realtime/internal/limit"
)

// Run tests the terms of hubs that share a broker. newHubs returns new ones, whose broker
// has no state.
func Run(t *testing.T, newHubs func(t *testing.T) []*hub.Hub[string]) {
	t.Helper()
	for name, test := range map[string]func(machines){
		"no more than the limit are accepted":        limited,
		"the state of the limit":                     state,
		"a batch counts all or nothing":              batches,
		"what is free again is accepted":             freed,
		"apps have limits of their own":              apart,
		"a changed limit applies to what is counted": changed,
		"a repetition is replayed":                   replayed,
		"another body is refused":                    mismatched,
		"a refused publish keeps no key":             refused,
		"a replay does not count":                    uncounted,
		"one of many at once publishes":              once,
		"an app that is forgotten begins again":      forgotten,
	} {
		t.Run(name, func(t *testing.T) { test(machines{t, newHubs(t)}) })
	}
}

// machines are the hubs of one broker.
type machines struct {
	t    *testing.T
	hubs []*hub.Hub[string]
}

// at returns the i-th hub, beginning again after the last.
func (m machines) at(i int) *hub.Hub[string] { return m.hubs[i%len(m.hubs)] }

const app = "app_admitted"

// long is a window that no test outlasts.
const long = time.Hour

func messages(n int) (all []hub.Message) {
	for i := range n {
		all = append(all, hub.Message{App: app, Channel: fmt.Sprint("c", i), Event: "e", Data: []byte("1")})
	}
	return all
}

// publish publishes n messages through the i-th hub.
func (m machines) publish(i, n int, terms hub.Terms) ([]hub.Receipt, hub.Outcome, error) {
	m.t.Helper()
	if n == 1 {
		receipt, o, err := m.at(i).Admit(m.t.Context(), messages(1)[0], terms)
		return []hub.Receipt{receipt}, o, err
	}
	return m.at(i).AdmitAll(m.t.Context(), messages(n), terms)
}

// accept is publish for what must be accepted.
func (m machines) accept(i, n int, terms hub.Terms) ([]hub.Receipt, hub.Outcome) {
	m.t.Helper()
	receipts, o, err := m.publish(i, n, terms)
	if err != nil {
		m.t.Fatal(err)
	}
	return receipts, o
}

// refuse is publish for what must be refused.
func (m machines) refuse(i, n int, terms hub.Terms, want error) hub.Outcome {
	m.t.Helper()
	_, o, err := m.publish(i, n, terms)
	if !errors.Is(err, want) {
		m.t.Fatalf("%v, want %v", err, want)
	}
	return o
}

// offset returns the offset of the next message, which it publishes.
func (m machines) offset() uint64 {
	m.t.Helper()
	receipts, _ := m.accept(0, 1, hub.Terms{})
	return receipts[0].Offset
}

func limited(m machines) {
	const allowed = 100
	var accepted atomic.Int64
	var publishing sync.WaitGroup
	for p := range 6 {
		publishing.Go(func() {
			for range 50 {
				_, o, err := m.publish(p, 1, hub.Terms{Limit: allowed, Window: long})
				switch {
				case err == nil && o.Rate.OK:
					accepted.Add(1)
				case !errors.Is(err, hub.ErrRateLimited) || o.Rate.OK:
					m.t.Errorf("%+v, %v", o, err)
				}
			}
		})
	}
	publishing.Wait()
	if n := accepted.Load(); n != allowed {
		m.t.Errorf("%d were accepted", n)
	}
	if offset := m.offset(); offset != allowed+1 {
		m.t.Errorf("the next has the offset %d", offset)
	}
}

func state(m machines) {
	terms := hub.Terms{Limit: 3, Window: long}
	for i := range 3 {
		_, o := m.accept(i, 1, terms)
		if want := (limit.Result{OK: true, Limit: 3, Remaining: 2 - i, Reset: long}); o != (hub.Outcome{Rate: want}) {
			m.t.Errorf("after %d: %+v", i+1, o)
		}
	}
	r := m.refuse(1, 1, terms, hub.ErrRateLimited).Rate
	if r.OK || r.Limit != 3 || r.Remaining != 0 || r.RetryAfter <= 0 || r.RetryAfter > r.Reset || r.Reset > long {
		m.t.Errorf("refused: %+v", r)
	}
	if _, o := m.accept(2, 1, hub.Terms{}); o.Rate != (limit.Result{OK: true}) {
		m.t.Errorf("without a limit: %+v", o)
	}
}

func batches(m machines) {
	terms := hub.Terms{Limit: 5, Window: long}
	m.accept(0, 3, terms)
	if o := m.refuse(1, 3, terms, hub.ErrRateLimited); o.Rate.Remaining != 2 {
		m.t.Errorf("%+v", o)
	}
	m.refuse(1, 6, terms, hub.ErrRateLimited)
	if _, o := m.accept(2, 2, terms); o.Rate.Remaining != 0 {
		m.t.Errorf("%+v", o)
	}
	if offset := m.offset(); offset != 6 {
		m.t.Errorf("the next has the offset %d", offset)
	}
}

func freed(m machines) {
	terms := hub.Terms{Limit: 2, Window: 300 * time.Millisecond}
	for i := range 7 {
		_, o, err := m.publish(i, 1, terms)
		for errors.Is(err, hub.ErrRateLimited) {
			if o.Rate.RetryAfter <= 0 || o.Rate.RetryAfter > terms.Window {
				m.t.Fatalf("%+v", o)
			}
			time.Sleep(o.Rate.RetryAfter) // that is what is promised to be enough
			if _, o, err = m.publish(i+1, 1, terms); err != nil {
				m.t.Fatalf("refused after the wait: %+v", o)
			}
		}
		if err != nil {
			m.t.Fatal(err)
		}
	}
}

func apart(m machines) {
	terms := hub.Terms{Limit: 1, Window: long, Key: hub.IdempotencyKey{Value: "k"}}
	m.accept(0, 1, terms)
	other := messages(1)[0]
	other.App = "app_other"
	if _, o, err := m.at(1).Admit(m.t.Context(), other, terms); err != nil || o.Replayed {
		m.t.Errorf("%+v, %v", o, err)
	}
}

func changed(m machines) {
	m.accept(0, 1, hub.Terms{Limit: 5, Window: long})
	m.accept(1, 4, hub.Terms{Limit: 5, Window: long})
	if o := m.refuse(0, 1, hub.Terms{Limit: 3, Window: long}, hub.ErrRateLimited); o.Rate.Remaining != 0 || o.Rate.Limit != 3 {
		m.t.Errorf("a lower limit: %+v", o)
	}
	if _, o := m.accept(1, 1, hub.Terms{Limit: 10_000, Window: 2 * long}); o.Rate.Remaining != 9994 {
		m.t.Errorf("a higher limit in a longer window: %+v", o)
	}
	if o := m.refuse(2, 1, hub.Terms{Limit: 6, Window: 2 * long}, hub.ErrRateLimited); o.Rate.RetryAfter <= long {
		m.t.Errorf("a lower limit in a longer window: %+v", o)
	}
}

// key returns terms with a key, and a limit that is not reached.
func key(value, body string) hub.Terms {
	return hub.Terms{Limit: 1000, Window: long, Key: hub.IdempotencyKey{Value: value, Body: idempotent.DigestOf([]byte(body))}}
}

func replayed(m machines) {
	for n, value := range map[int]string{1: "one", 3: "\x00 %s {}\n"} {
		first, o := m.accept(0, n, key(value, "body"))
		if o.Replayed {
			m.t.Fatal("the first is a replay")
		}
		for i := range 4 {
			again, o := m.accept(i, n, key(value, "body"))
			if !o.Replayed || fmt.Sprint(again) != fmt.Sprint(first) {
				m.t.Errorf("on %d: %+v, %v, want %v", i, o, again, first)
			}
		}
	}
	if offset := m.offset(); offset != 5 {
		m.t.Errorf("the next has the offset %d", offset)
	}
}

func mismatched(m machines) {
	m.accept(0, 1, key("k", "body"))
	for i := range 3 {
		if o := m.refuse(i, 1, key("k", "other"), hub.ErrIdempotencyMismatch); o.Replayed {
			m.t.Errorf("%+v", o)
		}
	}
	if offset := m.offset(); offset != 2 {
		m.t.Errorf("the next has the offset %d", offset)
	}
}

func refused(m machines) {
	terms := key("k", "body")
	terms.Limit = 1
	m.accept(0, 1, hub.Terms{Limit: 1, Window: long})
	m.refuse(1, 1, terms, hub.ErrRateLimited)
	if _, o := m.accept(2, 1, key("k", "another body")); o.Replayed {
		m.t.Error("it is a replay")
	}
}

func uncounted(m machines) {
	terms := key("k", "body")
	terms.Limit = 2
	m.accept(0, 1, terms)
	for i := range 3 {
		if _, o := m.accept(i, 1, terms); !o.Rate.OK || o.Rate.Limit != 2 || o.Rate.Remaining != 1 || o.Rate.RetryAfter != 0 || o.Rate.Reset <= 0 {
			m.t.Errorf("%+v", o)
		}
	}
	m.accept(1, 1, hub.Terms{Limit: 2, Window: long})
	if _, o := m.accept(2, 1, terms); o.Rate.Remaining != 0 {
		m.t.Errorf("with the limit reached: %+v", o)
	}
}

func once(m machines) {
	for n := 1; n <= 20; n++ {
		var first atomic.Int64
		var publishing sync.WaitGroup
		for i := range 6 {
			publishing.Go(func() {
				for {
					receipts, o, err := m.publish(i, 2, key(strconv.Itoa(n), "body"))
					if errors.Is(err, hub.ErrIdempotencyInProgress) {
						continue
					}
					if err != nil || receipts[1].Offset != uint64(2*n) {
						m.t.Errorf("%v, %+v, %v", receipts, o, err)
					}
					if !o.Replayed {
						first.Add(1)
					}
					return
				}
			})
		}
		publishing.Wait()
		if first.Load() != 1 {
			m.t.Errorf("%d have published", first.Load())
		}
	}
}

func forgotten(m machines) {
	terms := key("k", "body")
	terms.Limit = 1
	before, _ := m.accept(0, 1, terms)
	m.at(0).Forget(app)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		after, o, err := m.publish(0, 1, terms)
		if err == nil && !o.Replayed {
			if after[0].ID == before[0].ID {
				m.t.Error("the id is given again")
			}
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("%+v, %v", o, err)
		}
	}
}
