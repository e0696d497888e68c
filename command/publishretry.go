package command

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/text"
)

// A retryPolicy says how often, and when, a request is repeated.
type retryPolicy struct {
	attempts int
	first    time.Duration // the first pause, which doubles with each attempt
	longest  time.Duration // the longest of these pauses
	maxAfter time.Duration // the longest Retry-After to wait for

	// doubt bounds the time since an attempt that may have been published. The
	// gateway remembers an idempotency key for 5 minutes.
	doubt time.Duration
}

func defaultRetries() retryPolicy {
	return retryPolicy{attempts: 8, first: 500 * time.Millisecond, longest: 10 * time.Second, maxAfter: 10 * time.Minute, doubt: 4 * time.Minute}
}

var errInterrupted = errors.New("interrupted")

// pause returns how long to wait after an attempt, the first being 1.
func (r retryPolicy) pause(attempt int, f *publishFailure) time.Duration {
	if f.after >= 0 {
		return f.after
	}
	pause := min(r.first<<(attempt-1), r.longest)
	return pause/2 + rand.N(pause/2+1) //nolint:gosec // jitter needs no secret
}

// sendOften sends a batch, and repeats it with the same key while that can help.
// The failure that it returns says whether any of the attempts may have been
// published.
func (p *filePublisher) sendOften(ctx context.Context, body []byte, key string, messages int) (publishAnswer, *publishFailure) {
	var doubted time.Time // zero unless an attempt may have been published
	for attempt := 1; ; attempt++ {
		begin := time.Now()
		answer, failure := p.sender.send(ctx, body, key, messages)
		if failure == nil {
			return answer, nil
		}
		if failure.published && doubted.IsZero() {
			doubted = begin
		}
		failure.published = !doubted.IsZero()
		pause := p.retry.pause(attempt, failure)
		switch {
		case ctx.Err() != nil:
			failure.error = errInterrupted
			return answer, failure
		case !failure.again:
			return answer, failure
		case attempt == p.retry.attempts:
			failure.error = fmt.Errorf("%d attempts failed; the last one: %w", attempt, failure.error)
			return answer, failure
		case pause > p.retry.maxAfter:
			failure.error = fmt.Errorf("%w (the answer's Retry-After is %s)", failure.error, text.ShortDuration(pause))
			return answer, failure
		case !doubted.IsZero() && time.Since(doubted)+pause > p.retry.doubt:
			failure.error = fmt.Errorf("the gateway has not answered for %s: %w", text.ShortDuration(time.Since(doubted).Round(time.Second)), failure.error)
			return answer, failure
		}
		p.notes.note("%s; trying again in %s", failure.Error(), text.ShortDuration(pause.Round(100*time.Millisecond)))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			failure.error = errInterrupted
			return answer, failure
		}
	}
}
