package webhook

import (
	"slices"
	"time"
)

// maxDeliveries is how many attempts a hook's State has.
const maxDeliveries = 20

// A Delivery is one attempt to send a batch.
type Delivery struct {
	ID       string // the header webhook-id, the same for each attempt
	Time     time.Time
	Events   int
	Status   int    // of the HTTP response, or 0 if there was none
	Error    string // why it failed, in words; empty if it was received
	Duration time.Duration
	Attempt  int // from 1; it begins again after a restart
}

// State is how the deliveries of a hook are going, for operators.
type State struct {
	Waiting     int        // events that were not received yet
	Failing     time.Time  // since when all attempts have failed, or zero
	NextAttempt time.Time  // zero unless it is failing
	Gone        bool       // the receiver answered 410, and nothing is sent until the hook is enabled again
	Dropped     uint64     // events that were never received, in total
	Deliveries  []Delivery // the last 20, the newest first
}

// status is what a queue remembers for State and for the next attempt.
type status struct {
	since      time.Time // of the first failure in a row
	next       time.Time
	failures   int    // in a row
	slow       bool   // the last attempt took slowAfter or longer
	id         string // of the last batch
	attempt    int    // of it
	deliveries []Delivery
}

func (s *status) add(d Delivery) {
	if len(s.deliveries) == maxDeliveries {
		copy(s.deliveries, s.deliveries[1:])
		s.deliveries = s.deliveries[:maxDeliveries-1]
	}
	s.deliveries = append(s.deliveries, d)
}

// State returns the state of an app's hook, or false if there is no such hook.
func (m *Manager) State(app, hook string) (State, bool) {
	q := m.find(app, hook)
	if q == nil {
		return State{}, false
	}
	dropped := q.dropped()
	q.mu.Lock()
	defer q.mu.Unlock()
	s := State{
		Waiting: q.stored + len(q.pending),
		Failing: q.status.since, NextAttempt: q.status.next, Gone: q.gone, Dropped: dropped,
	}
	for _, d := range slices.Backward(q.status.deliveries) {
		s.Deliveries = append(s.Deliveries, d)
	}
	return s, true
}

// dropped returns how many events were never received, in total.
func (q *queue) dropped() uint64 {
	if q.remote != nil {
		q.remote.mu.Lock()
		defer q.remote.mu.Unlock()
		return q.remote.record.Dropped
	}
	q.disk.Lock()
	defer q.disk.Unlock()
	return q.state.Dropped
}

// Sender returns the ID of the machine that sends an app's webhooks, "" if that is not
// known: the others know nothing of their deliveries. It is this machine's if machines
// share nothing.
func (m *Manager) Sender(app string) string {
	if m.shared == nil {
		return m.machine
	}
	m.mu.Lock()
	l := m.leads[app]
	m.mu.Unlock()
	if l == nil {
		return ""
	}
	return l.sender()
}

// Test queues an event of the type Test, after what is queued already. The errors
// are ErrUnknown and ErrDisabled.
func (m *Manager) Test(app, hook string) error {
	q := m.find(app, hook)
	if q == nil {
		return ErrUnknown
	}
	q.mu.Lock()
	gone := q.gone
	q.mu.Unlock()
	if gone || !q.hook.Load().Enabled {
		return ErrDisabled
	}
	if m.shared != nil {
		m.outbox.add(Fact{Event: Event{Type: Test, App: app}, Hook: hook})
		return nil
	}
	q.add(Event{Type: Test, Time: time.Now()})
	return nil
}

// Stats are totals of all hooks.
type Stats struct {
	Delivered uint64 // events that were received
	Failed    uint64 // attempts that failed
	Dropped   uint64 // events that were never received
	Waiting   int64  // events that were not received yet, now
}

// Stats returns the totals since Open.
func (m *Manager) Stats() Stats {
	return Stats{m.delivered.Load(), m.failed.Load(), m.dropped.Load(), m.waiting.Load()}
}
