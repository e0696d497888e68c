package realtime

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/hub"
)

// keyed returns a valid publish with an idempotency key.
func (s *publishServer) keyed(tb testing.TB, key, body string) *http.Request {
	tb.Helper()
	r := s.request(tb, body)
	r.Header.Set("Idempotency-Key", key)
	return r
}

func TestARepeatedPublishGetsTheFirstAnswer(t *testing.T) {
	s := newPublishServer(t, nil)
	for n, body := range []string{goodBody, `{"channels":["a","b"],"event":"e"}`} {
		key := strings.Repeat("k", 1+254*n)
		first, want := s.do(t, s.keyed(t, key, body))
		if first.StatusCode != http.StatusOK || first.Header["Idempotent-Replayed"] != nil {
			t.Fatalf("%d %v %s", first.StatusCode, first.Header, want)
		}
		published := len(s.recorder.published())
		for range 3 {
			res, got := s.do(t, s.keyed(t, key, body))
			if res.StatusCode != http.StatusOK || got != want || res.Header.Get("Idempotent-Replayed") != "true" ||
				res.Header.Get("Content-Type") != "application/json" {
				t.Fatalf("%d %v %s, want %s", res.StatusCode, res.Header, got, want)
			}
			if got, want := res.Header.Get("Ratelimit-Remaining"), first.Header.Get("Ratelimit-Remaining"); got != want {
				t.Errorf("%s publishes remain after a repetition, want %s", got, want)
			}
		}
		if n := len(s.recorder.published()); n != published {
			t.Errorf("%d were published, want %d", n, published)
		}
		res, answer := s.do(t, s.keyed(t, key, body+" "))
		wantError(t, res, answer, http.StatusUnprocessableEntity, "idempotency_mismatch", "used with another body")
	}
}

func TestBadIdempotencyKeysAreRefused(t *testing.T) {
	s := newPublishServer(t, nil)
	for _, values := range [][]string{{""}, {strings.Repeat("k", 256)}, {"clé"}, {"a\tb"}, {"a", "a"}, {"a", "b"}} {
		r := s.request(t, goodBody)
		r.Header["Idempotency-Key"] = values
		res, body := s.do(t, r)
		wantError(t, res, body, http.StatusBadRequest, "invalid_request", "Idempotency-Key")
	}
	if got := s.recorder.published(); got != nil {
		t.Errorf("published %q", got)
	}
	if res, body := s.do(t, s.keyed(t, `"8e03978e 40d5~!"`, goodBody)); res.StatusCode != http.StatusOK {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}

func TestARefusedPublishKeepsNoKey(t *testing.T) {
	s := newPublishServer(t, func(e *publishEndpoint) { e.settings.RateLimit.Publishes = 2 })
	res, body := s.do(t, s.keyed(t, "k", `{"channel":"c d","event":"e"}`))
	wantError(t, res, body, http.StatusUnprocessableEntity, "invalid_channel", "")

	s.recorder.err = errors.New("broken")
	res, body = s.do(t, s.keyed(t, "k", goodBody))
	wantError(t, res, body, http.StatusServiceUnavailable, "unavailable", "")
	s.recorder.err = nil

	s.do(t, s.request(t, goodBody))
	res, body = s.do(t, s.keyed(t, "k", goodBody))
	wantError(t, res, body, http.StatusTooManyRequests, "rate_limited", "")

	s.endpoint.settings.RateLimit.Publishes = 3
	res, body = s.do(t, s.keyed(t, "k", goodBody))
	if res.StatusCode != http.StatusOK || res.Header["Idempotent-Replayed"] != nil {
		t.Fatalf("%d %v %s", res.StatusCode, res.Header, body)
	}
	// A repetition does not count: it gets its answer while the app is at its limit.
	if res, again := s.do(t, s.keyed(t, "k", goodBody)); res.StatusCode != http.StatusOK || again != body || res.Header.Get("Ratelimit-Remaining") != "0" {
		t.Fatalf("%d %v %s", res.StatusCode, res.Header, again)
	}
}

// gate is a broker that holds the first message until it is opened, and then does
// as told with it.
type gate struct {
	recorder
	once    sync.Once
	arrived chan struct{}
	open    chan func()
}

func (b *gate) Publish(ctx context.Context, all []*hub.Message) error {
	b.once.Do(func() {
		close(b.arrived)
		(<-b.open)()
	})
	return b.recorder.Publish(ctx, all)
}

func newGate(t *testing.T) (*publishServer, *gate) {
	t.Helper()
	b := &gate{arrived: make(chan struct{}), open: make(chan func(), 1)}
	return newPublishServer(t, func(e *publishEndpoint) { e.publisher.hub = mustHub(t, b) }), b
}

func TestARepetitionWhileTheFirstIsUnderWayIsToldToWait(t *testing.T) {
	s, b := newGate(t)
	ctx, leave := context.WithCancel(t.Context())
	var first sync.WaitGroup
	first.Go(func() {
		if res, err := s.Client().Do(s.keyed(t, "k", goodBody).WithContext(ctx)); err == nil {
			res.Body.Close()
			t.Error("the client has not left")
		}
	})
	<-b.arrived
	res, body := s.do(t, s.keyed(t, "k", goodBody))
	wantError(t, res, body, http.StatusConflict, "idempotency_in_progress", "Repeat the request in 1 s")
	if res.Header.Get("Retry-After") != "1" {
		t.Errorf("headers %v", res.Header)
	}
	leave()
	first.Wait()
	b.open <- func() {}
	for res.StatusCode == http.StatusConflict {
		res, body = s.do(t, s.keyed(t, "k", goodBody))
	}
	if body != `{"id":"m-1","offset":1,"subscribers":3}`+"\n" || res.Header.Get("Idempotent-Replayed") != "true" {
		t.Fatalf("%d %v %s", res.StatusCode, res.Header, body)
	}
}

func TestAPanicFreesTheKey(t *testing.T) {
	s, b := newGate(t)
	b.open <- func() { panic(http.ErrAbortHandler) }
	if res, err := s.Client().Do(s.keyed(t, "k", goodBody)); err == nil {
		res.Body.Close()
		t.Fatal(res.Status)
	}
	if res, body := s.do(t, s.keyed(t, "k", goodBody)); res.StatusCode != http.StatusOK || res.Header["Idempotent-Replayed"] != nil {
		t.Fatalf("%d %v %s", res.StatusCode, res.Header, body)
	}
}
