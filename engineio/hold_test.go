package engineio_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

// exchange sends one request with its Exchange, in the background.
func (b *bubble) exchange(ctx context.Context, x engineio.Exchange, method, sid, body string) <-chan answer {
	answers := make(chan answer, 1)
	go func() {
		r := httptest.NewRequestWithContext(ctx, method, "/?EIO=4&transport=polling&sid="+sid, strings.NewReader(body))
		w := httptest.NewRecorder()
		b.Serve(w, r, x)
		answers <- answer{w.Code, w.Body.String()}
	}()
	return answers
}

func TestAnswersAreHeldUntilTheServerEnds(t *testing.T) {
	inBubble(t, beating(), func(b *bubble) {
		var hold engineio.Hold
		hold.Begin()
		ending := make(chan struct{})
		x := engineio.Exchange{Ending: ending, Hold: &hold}
		poll, post := b.openPolling(), b.openPolling()
		poll.Send(engineio.TextPacket([]byte("hello")))
		began := time.Now()
		polled := b.exchange(b.t.Context(), x, http.MethodGet, poll.ID(), "")
		posted := b.exchange(b.t.Context(), x, http.MethodPost, post.ID(), "4hello")
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		if len(polled)+len(posted) > 0 {
			b.t.Error("an answer was not held")
		}
		close(ending)
		is(b.t, polled, 200, "4hello")
		is(b.t, posted, 200, "ok")
		passed(b.t, began, 520*time.Millisecond) // the server has closed its idle connections by then
	})
}

func TestAnswersAreHeldForTwoSecondsAtMost(t *testing.T) {
	inBubble(t, beating(), func(b *bubble) {
		var hold engineio.Hold
		hold.Begin()
		p := b.openPolling()
		for _, failed := range []bool{false, true} {
			p.Send(engineio.TextPacket([]byte("hello")))
			began, want := time.Now(), 2*time.Second
			polled := b.exchange(b.t.Context(), engineio.Exchange{Hold: &hold}, http.MethodGet, p.ID(), "")
			if failed { // the next server
				want = 100 * time.Millisecond
				time.AfterFunc(want, func() { hold.EndIn(0) })
			}
			is(b.t, polled, 200, "4hello")
			passed(b.t, began, want)
		}
	})
}

// The packets that it held are lost, and its client must learn of that.
func TestAHeldPollThatIsGivenUpEndsTheSession(t *testing.T) {
	inBubble(t, beating(), func(b *bubble) {
		var hold engineio.Hold
		hold.Begin()
		p := b.openPolling()
		p.Send(engineio.TextPacket([]byte("hello")))
		ctx, cancel := context.WithCancel(b.t.Context())
		b.exchange(ctx, engineio.Exchange{Hold: &hold}, http.MethodGet, p.ID(), "")
		synctest.Wait()
		cancel()
		p.endsWith(engineio.TransportError)
	})
}

func TestSettleWaitsForPolls(t *testing.T) {
	inBubble(t, beating(), func(b *bubble) {
		var hold engineio.Hold
		x := engineio.Exchange{Hold: &hold}
		settles := func(want time.Duration) {
			b.t.Helper()
			began := time.Now()
			b.Settle(time.Second)
			passed(b.t, began, want)
		}
		settles(0)
		b.dial()
		settles(0)
		p := b.openPolling()
		time.AfterFunc(100*time.Millisecond, func() {
			b.exchange(b.t.Context(), x, http.MethodGet, p.ID(), "")
		})
		settles(100 * time.Millisecond)
		p.Send(engineio.TextPacket([]byte("hello")))
		synctest.Wait()      // its poll is answered,
		settles(time.Second) // and it does not return
		settles(0)
		hold.Begin()
		p.Send(engineio.TextPacket([]byte("hello")))
		b.exchange(b.t.Context(), x, http.MethodGet, p.ID(), "")
		synctest.Wait()
		settles(0) // the answer is on hold
		hold.EndIn(0)
		time.Sleep(100 * time.Millisecond)
		settles(905 * time.Millisecond) // the hold is checked every 5 ms
		p.Abort("test")
		settles(0)
	})
}

func TestSettleTakesNoLongerThanItsLimit(t *testing.T) {
	inBubble(t, beating(), func(b *bubble) {
		p := b.openPolling()
		began := time.Now()
		for i := range 10 { // it is always about to return
			time.AfterFunc(time.Duration(i)*150*time.Millisecond, func() {
				p.Send(engineio.TextPacket([]byte("hello")))
				b.exchange(b.t.Context(), engineio.Exchange{}, http.MethodGet, p.ID(), "")
			})
		}
		b.Settle(time.Second)
		passed(b.t, began, time.Second)
	})
}

func TestPollsAtAServerThatIsToEndAreWaitedFor(t *testing.T) {
	inBubble(t, beating(), func(b *bubble) {
		waits := func(want time.Duration) {
			b.t.Helper()
			began := time.Now()
			b.AwaitEnded(time.Second)
			passed(b.t, began, want)
		}
		b.dial()
		p := b.openPolling()
		var hold engineio.Hold
		ending := make(chan struct{})
		polled := b.exchange(b.t.Context(), engineio.Exchange{Ending: ending, Hold: &hold}, http.MethodGet, p.ID(), "")
		synctest.Wait()
		waits(0) // no server has taken over
		hold.Begin()
		waits(time.Second)
		time.AfterFunc(100*time.Millisecond, func() { close(ending) })
		waits(120 * time.Millisecond)
		is(b.t, polled, 200, "6")
	})
}
