package stress

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A ledger is what is known of a channel, whose one publisher numbers its
// events from 1.
type ledger struct {
	name     string
	size     int           // bytes of an event's padding, at most
	interval time.Duration // between two events

	started  atomic.Int64 // the last event that was sent off
	answered atomic.Int64 // the last that was accepted
}

// A tally adds up what was owed to subscribers and what they got.
type tally struct {
	owed, made, lost, doubled atomic.Int64

	mu   sync.Mutex // guards all below
	bad  []string   // the first few things that went wrong
	more int        // and how many there were besides
}

// wrong notes what must not be.
func (t *tally) wrong(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.bad) >= 20 {
		t.more++
		return
	}
	t.bad = append(t.bad, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

func (t *tally) verdict() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.bad) == 0 {
		return nil
	}
	return fmt.Errorf("%s\nand %d more", strings.Join(t.bad, "\n"), t.more)
}

// A subscription is the account of one client in one channel, from a subscribe
// to its end.
type subscription struct {
	ledger *ledger
	tally  *tally
	who    string

	// before is the last event that had been accepted when the client asked:
	// neither it nor an earlier one may come.
	before int64

	mu      sync.Mutex // guards all below
	joined  chan struct{}
	left    chan struct{} // closed when the client was told that it is out
	from    int64         // every event after this one is owed; set when joined
	first   int64         // the first that came, 0 before
	last    int64         // the highest that came
	got     int64         // how many different ones came
	want    int64         // what somebody waits for, 0 if nobody
	reached chan struct{} // closed when it came
}

func newSubscription(l *ledger, t *tally, who string) *subscription {
	return &subscription{
		ledger: l, tally: t, who: who, before: l.answered.Load(),
		joined: make(chan struct{}), left: make(chan struct{}),
	}
}

// join notes that the client was told that it is in.
func (s *subscription) join() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.from = s.ledger.started.Load()
	close(s.joined)
}

// take notes an event.
func (s *subscription) take(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.joined:
	default:
		s.tally.wrong("%s: event %d of %s came before the answer to subscribe", s.who, n, s.ledger.name)
	}
	switch {
	case n <= s.before:
		s.tally.wrong("%s: event %d of %s was over before it subscribed", s.who, n, s.ledger.name)
	case s.first == 0:
		s.first = n
	case n <= s.last:
		s.tally.doubled.Add(1)
		s.tally.wrong("%s: event %d of %s came after %d", s.who, n, s.ledger.name, s.last)
		return
	case n > s.last+1:
		s.tally.wrong("%s: events %d to %d of %s are missing", s.who, s.last+1, n-1, s.ledger.name)
	}
	s.last = n
	s.got++
	if s.want > 0 && n >= s.want {
		close(s.reached)
		s.want = 0
	}
}

// caughtUp returns once the client has all that was accepted until now, or has
// ended: the last event of that, or 0 if it is not certain that any was owed,
// as all of them were under way when it joined.
func (s *subscription) caughtUp(done <-chan struct{}, limit time.Duration) int64 {
	answered := s.ledger.answered.Load()
	s.mu.Lock()
	switch {
	case s.first == 0 && s.from >= answered:
		s.mu.Unlock()
		return 0
	case s.last >= answered:
		s.mu.Unlock()
		return answered
	}
	s.want, s.reached = answered, make(chan struct{})
	reached := s.reached
	s.mu.Unlock()
	select {
	case <-reached:
	case <-done:
	case <-time.After(limit):
	}
	return answered
}

// settle adds the account to the tally. until is the last event that was owed
// for certain, 0 where the client's own end left open which it would get.
func (s *subscription) settle(until int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.joined:
	default:
		return
	}
	begin := s.from // the last that was not owed
	if s.first > 0 {
		begin = min(begin, s.first-1)
	}
	owed := max(s.last, until, begin) - begin
	lost := owed - s.got
	s.tally.owed.Add(owed)
	s.tally.made.Add(s.got)
	s.tally.lost.Add(lost)
	if lost > 0 {
		s.tally.wrong("%s: %d events of %s lost: owed from %d, got %d to %d, owed to %d",
			s.who, lost, s.ledger.name, s.from+1, s.first, s.last, until)
	}
}
