package realtime

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/access"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
)

const goodBody = `{"channel":"orders.42","event":"order.updated","data":{"id":42}}`

func TestPublishIsAccepted(t *testing.T) {
	s := newPublishServer(t, nil)
	for _, contentType := range []string{"application/json", "application/json; charset=utf-8", "Application/JSON;charset=\"UTF-8\""} {
		r := s.request(t, goodBody)
		r.Header.Set("Content-Type", contentType)
		res, body := s.do(t, r)
		if res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %s", contentType, res.StatusCode, body)
		}
	}
	res, body := s.do(t, s.request(t, goodBody))
	if body != `{"id":"m-4","offset":4,"subscribers":3}`+"\n" {
		t.Fatalf("answers %q", body)
	}
	for header, want := range map[string]string{
		"Content-Type":    "application/json",
		"Ratelimit-Limit": "600", "Ratelimit-Remaining": "596", "Access-Control-Allow-Origin": "*",
	} {
		if got := res.Header.Get(header); got != want {
			t.Errorf("%s is %q, want %q", header, got, want)
		}
	}
	if reset, err := strconv.Atoi(res.Header.Get("Ratelimit-Reset")); err != nil || reset < 1 || reset > 60 {
		t.Errorf("RateLimit-Reset is %q", res.Header.Get("Ratelimit-Reset"))
	}
	if want := s.shop.app + ` orders.42 order.updated {"id":42}`; s.recorder.last() != want {
		t.Fatalf("published %q", s.recorder.last())
	}
}

func TestPublishTellsAbsentDataFromNull(t *testing.T) {
	s := newPublishServer(t, nil)
	for body, want := range map[string]string{
		`{"channel":"c","event":"e"}`:             "absent",
		`{"channel":"c","event":"e","data":null}`: "null",
	} {
		s.do(t, s.request(t, body))
		if !strings.HasSuffix(s.recorder.last(), " "+want) {
			t.Errorf("published %q, want %s", s.recorder.last(), want)
		}
	}
}

func TestPublishBodyOfTheLimitIsAccepted(t *testing.T) {
	s := newPublishServer(t, nil)
	frame := len(`{"channel":"c","event":"e","data":""}`)
	body := `{"channel":"c","event":"e","data":"` + strings.Repeat("x", (1<<20)-frame) + `"}`
	if res, answer := s.do(t, s.request(t, body)); res.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", res.StatusCode, answer)
	}
	res, answer := s.do(t, s.request(t, body+" "))
	wantError(t, res, answer, http.StatusRequestEntityTooLarge, "payload_too_large", "is 1048577 bytes; the limit is 1048576")

	chunked := s.request(t, body+" ")
	chunked.ContentLength = -1
	res, answer = s.do(t, chunked)
	wantError(t, res, answer, http.StatusRequestEntityTooLarge, "payload_too_large", "is more than 1048576 bytes")
}

func TestPublishRefusesBadBodies(t *testing.T) {
	s := newPublishServer(t, func(e *publishEndpoint) { e.settings.MaxBody = 4 << 20 })
	for _, c := range []struct {
		name, body string
		status     int
		code, says string
	}{
		{"text", "hello", 400, "invalid_json", "byte 1:"},
		{"a field twice", `{"channel":"c","channel":"d","event":"e"}`, 400, "invalid_request", `"channel" is duplicated`},
		{"a channel's name", `{"channel":"a b","event":"e"}`, 422, "invalid_channel", "' ' at character 2"},
		{"an event's name", `{"channel":"c","event":"a\nb"}`, 422, "invalid_event", `'\n' at character 2`},
		{"a reserved event", `{"channel":"c","event":"connect_error"}`, 422, "reserved_event", `"connect_error"`},
		{"a million levels", strings.Repeat("[", 1_000_000), 400, "invalid_json", "10000 levels"},
	} {
		t.Run(c.name, func(t *testing.T) {
			res, body := s.do(t, s.request(t, c.body))
			wantError(t, res, body, c.status, c.code, c.says)
			if res.Header.Get("Ratelimit-Limit") != "" {
				t.Fatal("a refused body was counted")
			}
		})
	}
	if s.recorder.last() != "" {
		t.Fatalf("published %q", s.recorder.last())
	}
}

func TestPublishRefusals(t *testing.T) {
	s := newPublishServer(t, nil)
	key := func(secret string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+secret) }
	}
	header := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = values }
	}
	for _, c := range []struct {
		name   string
		spoil  func(*http.Request)
		status int
		code   string
		says   string
	}{
		{"no app id", header("X-App-Id"), 401, "missing_app_id", "X-App-Id"},
		{"two app ids", header("X-App-Id", s.shop.app, s.shop.app), 400, "invalid_request", "X-App-Id"},
		{"unknown app", header("X-App-Id", "app_nobody"), 401, "unknown_app", `"app_nobody"`},
		{"long app id", header("X-App-Id", strings.Repeat("x", 8000)), 401, "unknown_app", `xx"…`},
		{"no key", header("Authorization"), 401, "missing_key", "Authorization"},
		{"two keys", header("Authorization", "Bearer a", "Bearer b"), 400, "invalid_request", "Authorization"},
		{"basic", header("Authorization", "Basic YTpi"), 401, "missing_key", "Bearer pk_live_…"},
		{"key in the query", func(r *http.Request) {
			r.Header.Del("Authorization")
			r.URL.RawQuery = "publishKey=" + s.shop.publishKey
		}, 401, "missing_key", `"publishKey" is not read`},
		{"wrong key", key("pk_live_wrong"), 401, "invalid_key", "not a key of this app"},
		{"long key", key(strings.Repeat("x", 8000)), 401, "invalid_key", "not a key of this app"},
		{"key of another app", key(s.shop.otherKey), 401, "invalid_key", "not a key of this app"},
		{
			"subscribe key", key(s.shop.subscribeKey), 401, "wrong_key_kind",
			"This is a subscribe key. POST /publish takes the app's publish key (pk_live_…).",
		},
		{"expired key", key(s.shop.expiredKey), 401, "key_expired", "has expired"},
		{"revoked key", key(s.shop.revokedKey), 401, "key_revoked", "was revoked"},
		{"disabled app", func(r *http.Request) {
			r.Header.Set("X-App-Id", s.shop.disabledApp)
			key(s.shop.disabledKey)(r)
		}, 403, "app_disabled", "Enable it"},
		{"wrong key of a disabled app", header("X-App-Id", s.shop.disabledApp), 401, "invalid_key", ""},
		{"no content type", header("Content-Type"), 415, "unsupported_media_type", "Content-Type is missing"},
		{"form", header("Content-Type", "application/x-www-form-urlencoded"), 415, "unsupported_media_type", "x-www-form-urlencoded"},
		{"text", header("Content-Type", "text/plain"), 415, "unsupported_media_type", "application/json"},
		{"some other JSON", header("Content-Type", "application/vnd.api+json"), 415, "unsupported_media_type", "vnd.api+json"},
		{"nonsense type", header("Content-Type", ";;;"), 415, "unsupported_media_type", ";;;"},
		{"latin-1", header("Content-Type", "application/json; charset=iso-8859-1"), 415, "unsupported_media_type", "iso-8859-1"},
		{"two types", header("Content-Type", "application/json", "application/json"), 400, "invalid_request", "Content-Type"},
		{"gzip", header("Content-Encoding", "gzip"), 415, "unsupported_media_type", "gzip"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := s.request(t, goodBody)
			c.spoil(r)
			res, body := s.do(t, r)
			wantError(t, res, body, c.status, c.code, c.says)
			for _, secret := range []string{s.shop.publishKey, s.shop.subscribeKey} {
				if strings.Contains(body, secret) {
					t.Fatal("the answer repeats a key")
				}
			}
		})
	}
	if s.recorder.last() != "" {
		t.Fatalf("published %q", s.recorder.last())
	}
}

func TestPublishTakesPostOnly(t *testing.T) {
	s := newPublishServer(t, nil)
	for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "BREW"} {
		r := s.request(t, goodBody)
		r.Method = method
		res, body := s.do(t, r)
		if res.Header.Get("Allow") != "POST, OPTIONS" {
			t.Errorf("%s: Allow is %q", method, res.Header.Get("Allow"))
		}
		if method == "HEAD" {
			if res.StatusCode != http.StatusMethodNotAllowed || body != "" {
				t.Errorf("HEAD: %d %q", res.StatusCode, body)
			}
			continue
		}
		wantError(t, res, body, http.StatusMethodNotAllowed, "method_not_allowed", method)
	}
	r := s.request(t, "")
	r.Method = http.MethodOptions
	if res, body := s.do(t, r); res.StatusCode != http.StatusNoContent || res.Header.Get("Allow") != "POST, OPTIONS" || body != "" {
		t.Errorf("OPTIONS: %d %v %q", res.StatusCode, res.Header, body)
	}
}

func TestPublishFromABrowser(t *testing.T) {
	s := newPublishServer(t, func(e *publishEndpoint) {
		var err error
		if e.origins, err = access.ParseOrigins([]string{"https://a.example", "https://b.example"}); err != nil {
			t.Fatal(err)
		}
	})
	preflight := func(origin string) *http.Request {
		r := s.request(t, "")
		r.Method = http.MethodOptions
		r.Header = http.Header{
			"Origin":                         {origin},
			"Access-Control-Request-Method":  {"POST"},
			"Access-Control-Request-Headers": {"authorization,content-type,x-app-id"},
		}
		return r
	}
	publish := func(origin, app, key string) *http.Request {
		r := s.request(t, goodBody)
		r.Header.Set("Origin", origin)
		r.Header.Set("X-App-Id", app)
		r.Header.Set("Authorization", "Bearer "+key)
		return r
	}

	res, _ := s.do(t, preflight("https://a.example"))
	if res.StatusCode != http.StatusNoContent {
		t.Fatalf("preflight: %d", res.StatusCode)
	}
	for header, want := range map[string]string{
		"Access-Control-Allow-Origin":  "https://a.example",
		"Access-Control-Allow-Methods": "POST",
		"Access-Control-Allow-Headers": "Content-Type, X-App-Id, Authorization, Idempotency-Key",
		"Access-Control-Max-Age":       "86400",
		"Vary":                         "Origin",
	} {
		if got := res.Header.Get(header); got != want {
			t.Errorf("%s is %q, want %q", header, got, want)
		}
	}

	for _, r := range []*http.Request{preflight("https://c.example"), publish("https://c.example", s.shop.app, s.shop.publishKey)} {
		res, body := s.do(t, r)
		wantError(t, res, body, http.StatusForbidden, "origin_not_allowed", "origins … https://c.example")
		if res.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Error("a refused origin may read the answer")
		}
		if strings.Contains(body, "a.example") {
			t.Error("the answer names another origin")
		}
	}
	if n := s.logs.FilterMessageSnippet("refused an origin").Len(); n != 1 {
		t.Errorf("the refused origin was logged %d times", n)
	}

	res, body := s.do(t, publish("https://a.example", s.shop.app, s.shop.publishKey))
	if res.StatusCode != http.StatusOK || !strings.Contains(res.Header.Get("Access-Control-Expose-Headers"), "Retry-After") {
		t.Errorf("publish: %d %v %s", res.StatusCode, res.Header, body)
	}
	res, body = s.do(t, publish("https://a.example", s.shop.app, "pk_live_wrong"))
	wantError(t, res, body, http.StatusUnauthorized, "invalid_key", "")
	if res.Header.Get("Access-Control-Allow-Origin") != "https://a.example" {
		t.Error("an allowed origin cannot read why it is refused")
	}

	// The app of the next two requests allows only https://a.example.
	res, body = s.do(t, publish("https://a.example", s.shop.narrowApp, s.shop.narrowKey))
	if res.StatusCode != http.StatusOK {
		t.Errorf("the app's own origin: %d %s", res.StatusCode, body)
	}
	res, body = s.do(t, publish("https://b.example", s.shop.narrowApp, s.shop.narrowKey))
	wantError(t, res, body, http.StatusForbidden, "origin_not_allowed", "app's allowed origins")
}

func TestPublishIsLimitedPerApp(t *testing.T) {
	s := newPublishServer(t, func(e *publishEndpoint) { e.settings.RateLimit.Publishes = 2 })
	for _, remaining := range []string{"1", "0"} {
		s.do(t, s.request(t, `{"refused":"costs nothing"}`))
		res, body := s.do(t, s.request(t, goodBody))
		if res.StatusCode != http.StatusOK || res.Header.Get("Ratelimit-Remaining") != remaining {
			t.Fatalf("%d %v %s", res.StatusCode, res.Header, body)
		}
	}
	res, body := s.do(t, s.request(t, goodBody))
	wantError(t, res, body, http.StatusTooManyRequests, "rate_limited", "2 times within 1m, which is its limit")
	for _, header := range []string{"Retry-After", "Ratelimit-Reset"} {
		if seconds, err := strconv.Atoi(res.Header.Get(header)); err != nil || seconds < 1 || seconds > 60 {
			t.Errorf("%s is %q", header, res.Header.Get(header))
		}
	}
	if res.Header.Get("Ratelimit-Limit") != "2" || res.Header.Get("Ratelimit-Remaining") != "0" {
		t.Errorf("headers %v", res.Header)
	}

	other := s.request(t, goodBody)
	other.Header.Set("X-App-Id", s.shop.other)
	other.Header.Set("Authorization", "Bearer "+s.shop.otherKey)
	if res, body := s.do(t, other); res.StatusCode != http.StatusOK {
		t.Errorf("another app: %d %s", res.StatusCode, body)
	}

	// narrowApp has its own limit: 5 per hour.
	own := s.request(t, goodBody)
	own.Header.Set("X-App-Id", s.shop.narrowApp)
	own.Header.Set("Authorization", "Bearer "+s.shop.narrowKey)
	if res, _ := s.do(t, own); res.Header.Get("Ratelimit-Limit") != "5" || res.Header.Get("Ratelimit-Remaining") != "4" {
		t.Errorf("the app's own limit: %v", res.Header)
	}
}

func TestPublishWithoutLimitHasNoLimitHeaders(t *testing.T) {
	s := newPublishServer(t, func(e *publishEndpoint) { e.settings.RateLimit = new(RateLimit) })
	res, _ := s.do(t, s.request(t, goodBody))
	if res.StatusCode != http.StatusOK || res.Header.Get("Ratelimit-Limit") != "" {
		t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
}

func TestPublishWhileUnavailable(t *testing.T) {
	s := newPublishServer(t, nil)
	s.recorder.err = fmt.Errorf("publishing: %w", apierr.Unavailable("The server is shutting down.", 1500*time.Millisecond))
	res, body := s.do(t, s.request(t, goodBody))
	wantError(t, res, body, http.StatusServiceUnavailable, "unavailable", "shutting down")
	if res.Header.Get("Retry-After") != "2" {
		t.Errorf("Retry-After is %q", res.Header.Get("Retry-After"))
	}
	if s.logs.Len() != 0 {
		t.Errorf("a refusal was logged as a fault: %v", s.logs.All())
	}

	s.recorder.err = errors.New("secret internals")
	res, body = s.do(t, s.request(t, goodBody))
	wantError(t, res, body, http.StatusServiceUnavailable, "unavailable", "Try again")
	if strings.Contains(body, "secret") || s.logs.FilterMessage("publish failed").Len() != 1 {
		t.Errorf("answered %s, logged %v", body, s.logs.All())
	}
	s.do(t, s.request(t, goodBody))
	if n := s.logs.FilterMessage("publish failed").Len(); n != 1 {
		t.Errorf("%d lines for what fails again and again", n)
	}
}

func TestStalledBodiesAreCutOff(t *testing.T) {
	s := newPublishServer(t, func(e *publishEndpoint) { e.settings.BodyTimeout = 100e6 })
	for _, c := range []struct{ name, raw, says string }{
		{"chunked, nothing came", s.head("Transfer-Encoding: chunked"), "within 100ms, only 0 bytes"},
		{"chunked, half came", s.head("Transfer-Encoding: chunked") + "5\r\n{\"cha", "within 100ms, only 5 bytes"},
		{"chunked, the end did not come", s.head("Transfer-Encoding: chunked") + "40\r\n" + goodBody + "\r\n", "within 100ms, only 64 bytes"},
		{"with a length", s.head("Content-Length: 100") + "{", "within 100ms, only 1 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			res, body, closed := s.sendRaw(t, c.raw)
			wantError(t, res, body, http.StatusBadRequest, "invalid_request", c.says)
			if !closed {
				t.Fatal("the connection stays open")
			}
		})
	}
	if s.recorder.last() != "" {
		t.Fatalf("published %q", s.recorder.last())
	}
}

func TestBrokenBodiesAreRefused(t *testing.T) {
	s := newPublishServer(t, nil)
	res, body, closed := s.sendRaw(t, s.head("Transfer-Encoding: chunked")+"zz\r\n{\r\n")
	wantError(t, res, body, http.StatusBadRequest, "invalid_request", "broke off after 0 bytes")
	if !closed {
		t.Fatal("the connection stays open")
	}
	// A refusal before the body saves the client an upload.
	res, body, closed = s.sendRaw(t, s.head("Content-Length: 99999999999"))
	wantError(t, res, body, http.StatusRequestEntityTooLarge, "payload_too_large", "is 99999999999 bytes")
	if !closed {
		t.Fatal("the connection stays open")
	}
}

// deadlines records the read deadlines that are set.
type deadlines struct {
	*httptest.ResponseRecorder
	set []time.Time
}

func (d *deadlines) SetReadDeadline(deadline time.Time) error {
	d.set = append(d.set, deadline)
	return nil
}

func TestBodyDeadlineDoesNotOutlastTheBody(t *testing.T) {
	s := newPublishServer(t, nil)
	w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	before := time.Now()
	s.endpoint.ServeHTTP(w, s.request(t, goodBody))
	if len(w.set) != 2 || w.set[0].Before(before.Add(time.Duration(s.endpoint.settings.BodyTimeout))) || !w.set[1].IsZero() {
		t.Fatalf("deadlines set: %v", w.set)
	}
}

func TestPublishesDoNotMixUnderLoad(t *testing.T) {
	s := newPublishServer(t, func(e *publishEndpoint) { e.settings.RateLimit = new(RateLimit) })
	var wait sync.WaitGroup
	for worker := range 8 {
		wait.Go(func() {
			for i := range 50 {
				data := strings.Repeat(strconv.Itoa(worker), 1+i*37)
				w := httptest.NewRecorder()
				r := s.request(t, `{"channel":"c","event":"e`+strconv.Itoa(worker)+`","data":"`+data+`"}`)
				s.endpoint.ServeHTTP(w, r)
				if w.Code != http.StatusOK {
					t.Errorf("%d %s", w.Code, w.Body)
				}
			}
		})
	}
	wait.Wait()
	for _, line := range s.recorder.got {
		fields := strings.Fields(line)
		worker := strings.TrimPrefix(fields[2], "e")
		if strings.Trim(fields[3], `"`) != strings.Repeat(worker, len(fields[3])-2) {
			t.Fatalf("mixed: %s", line)
		}
	}
}

func BenchmarkPublish(b *testing.B) {
	s := newPublishServer(b, func(e *publishEndpoint) {
		e.settings.RateLimit = new(RateLimit)
		e.publisher.hub = mustHub(b, new(discard))
	})
	r := s.request(b, goodBody)
	body := strings.NewReader(goodBody)
	r.Body = io.NopCloser(body)
	b.ReportAllocs()
	for b.Loop() {
		body.Reset(goodBody)
		w := httptest.NewRecorder()
		s.endpoint.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			b.Fatal(w.Code, w.Body)
		}
	}
}
