package webhook

import (
	"context"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"
)

// Requests that are under way at the same time, of all hooks. A receiver whose
// last request took slowAfter or longer shares fewer places with its like, and
// takes none of the others'.
const (
	quickPlaces = 1024
	slowPlaces  = 64
	slowAfter   = time.Second
)

// A source is where the batches of a queue are: its journal, or what machines share.
type source interface {
	// next returns the batch to send and its body, or nil if there is nothing to send.
	// It is the same until it was received or given up.
	next() (*batch, []byte)

	// received removes the batch.
	received()

	// giveUp drops the batch, and tells the receiver so in its place.
	giveUp()
}

// start starts the sender if there is something to send and none is running, and
// wakes it otherwise.
func (q *queue) start() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.sender != nil {
		select {
		case q.poke <- struct{}{}:
		default:
		}
		return
	}
	if !q.sending() {
		return
	}
	ctx, cancel := context.WithCancel(q.manager.requests)
	q.sender = &sender{cancel, make(chan struct{})}
	done := q.sender.done
	q.manager.senders.Go(func() {
		defer cancel()
		reason := q.send(ctx)
		close(done)
		if disabled := q.manager.disabled; reason != "" && disabled != nil {
			disabled(*q.hook.Load().clone(), reason)
		}
	})
}

// sending reports whether a sender has something to do. The caller must hold mu.
func (q *queue) sending() bool {
	return q.stored > 0 && !q.stopped && !q.gone && q.hook.Load().Enabled
}

// pause stops the sender, and waits for its end. A request that is under way is
// made again later.
func (q *queue) pause() {
	q.mu.Lock()
	running := q.sender
	q.mu.Unlock()
	if running != nil {
		running.cancel()
		<-running.done
	}
}

// send sends batches until there are no more, or the sender is stopped. reason is
// set if the receiver does not want any more.
func (q *queue) send(ctx context.Context) (reason string) {
	for q.fill(ctx) {
		reason = q.deliver(ctx)
	}
	return reason
}

// fill waits until a batch is full or old enough. It returns false, and the queue
// has no sender any more, if there is nothing to send.
func (q *queue) fill(ctx context.Context) bool {
	for {
		q.mu.Lock()
		if ctx.Err() != nil || !q.sending() {
			q.sender = nil
			q.status.next = time.Time{}
			q.mu.Unlock()
			return false
		}
		wait := time.Until(q.since.Add(q.manager.timing.Batch))
		ready := q.batched || q.stored >= maxBatch || wait <= 0
		q.mu.Unlock()
		if ready {
			return true
		}
		q.sleep(ctx, wait)
	}
}

// sleep waits for a time, a change, or the end of the sender.
func (q *queue) sleep(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-q.poke:
	case <-q.manager.closing:
	case <-ctx.Done():
	}
}

// deliver sends one batch until it was received, is given up, or the sender is
// stopped. reason is set if the receiver does not want any more.
func (q *queue) deliver(ctx context.Context) (reason string) {
	for {
		b, answer := q.attempt(ctx)
		if b == nil || answer.stopped {
			return ""
		}
		delay := q.record(b, &answer)
		switch {
		case answer.received():
			q.source.received()
			q.manager.delivered.Add(uint64(b.Events))
			return ""
		case answer.gone():
			return answer.text
		case time.Since(b.Time) >= q.manager.timing.GiveUp:
			q.log().Error("the events of a webhook are dropped: its receiver has not accepted them",
				zap.Int("events", b.Events), zap.Duration("for", time.Since(b.Time)), zap.String("reason", answer.text))
			q.source.giveUp()
			return ""
		}
		if !q.backOff(ctx, delay) {
			return ""
		}
	}
}

// attempt makes one request once there is a place for it. The body is read from the
// journal for each: batches that wait take no memory.
func (q *queue) attempt(ctx context.Context) (*batch, answer) {
	q.mu.Lock()
	places := q.manager.quick
	if q.status.slow {
		places = q.manager.slow
	}
	q.mu.Unlock()
	select {
	case places <- struct{}{}:
		defer func() { <-places }()
	case <-q.manager.closing:
		return nil, answer{}
	case <-ctx.Done():
		return nil, answer{}
	}
	b, body := q.source.next()
	if b == nil {
		return nil, answer{}
	}
	return b, q.manager.post(ctx, q.hook.Load(), b.ID, body)
}

// record notes the outcome of an attempt for operators, and returns how long to
// wait for the next one.
func (q *queue) record(b *batch, a *answer) (delay time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := &q.status
	if s.id != b.ID {
		s.id, s.attempt = b.ID, 0
	}
	s.attempt++
	s.add(Delivery{ID: b.ID, Time: a.began, Events: b.Events, Status: a.status, Error: a.text, Duration: a.took, Attempt: s.attempt})
	s.slow = a.took >= slowAfter
	if a.received() {
		if s.failures > 0 {
			q.log().Info("a webhook is delivered again", zap.Duration("failing for", time.Since(s.since)))
		}
		s.failures, s.since, s.next = 0, time.Time{}, time.Time{}
		return 0
	}
	q.manager.failed.Add(1)
	if s.failures == 0 {
		s.since = a.began
		q.log().Warn("a webhook cannot be delivered; it is tried again", zap.String("reason", a.text))
	}
	s.failures++
	if a.gone() {
		q.gone = true
		q.log().Error("a webhook is disabled: its receiver answered 410 Gone")
		return 0
	}
	delay = q.manager.timing.delay(s.failures, a.retryAfter)
	s.next = time.Now().Add(delay)
	return delay
}

// delay returns how long to wait after a number of failures in a row: what the
// receiver asks for, or a random part of a time that doubles, so that hooks that
// failed together do not come back together.
func (t *Timing) delay(failures int, asked time.Duration) time.Duration {
	delay := asked
	if delay == 0 {
		most := t.LastRetry
		const enough = 32 // doublings, of any first retry
		if doubled := t.FirstRetry << min(failures, enough); doubled > 0 && doubled < most {
			most = doubled
		}
		delay = rand.N(most + 1) //nolint:gosec // no secret
	}
	return min(max(delay, t.FirstRetry), t.LastRetry)
}

// backOff waits before the next attempt, or until the hook's configuration changes.
// It returns false if the sender is to stop.
func (q *queue) backOff(ctx context.Context, delay time.Duration) bool {
	until, hook := time.Now().Add(delay), q.hook.Load()
	for {
		q.mu.Lock()
		stopped := q.stopped
		q.mu.Unlock()
		if stopped || ctx.Err() != nil {
			return false
		}
		wait := time.Until(until)
		if wait <= 0 || q.hook.Load() != hook {
			return true
		}
		q.sleep(ctx, wait)
	}
}
