package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
)

// An arrival is a request that a receiver got.
type arrival struct {
	id, timestamp, signature, body string
	at                             time.Time
}

// An arrivedEvent is an event as a receiver decodes it.
type arrivedEvent struct {
	Type    string `json:"type"`
	Seq     uint64 `json:"seq"`
	Time    string `json:"time"`
	Channel string `json:"channel"`
	User    string `json:"user"`
	Count   uint64 `json:"count"`
}

type arrivedBody struct {
	ID     string         `json:"id"`
	App    string         `json:"app"`
	Time   string         `json:"time"`
	Events []arrivedEvent `json:"events"`
}

// A receiver is an HTTP server that hooks send to.
type receiver struct {
	*httptest.Server
	t *testing.T

	mu       sync.Mutex
	arrivals []arrival // all requests
	accepted []string  // the IDs of batches that were answered with 2xx
	decoded  []arrivedEvent
	answer   http.HandlerFunc
}

// newReceiver starts a receiver that answers 204, or what answer does.
func newReceiver(t *testing.T, answer http.HandlerFunc) *receiver {
	t.Helper()
	r := &receiver{t: t, answer: answer}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the sender was stopped
	}
	a := arrival{req.Header.Get("webhook-id"), req.Header.Get("webhook-timestamp"), req.Header.Get("webhook-signature"), string(body), time.Now()}
	if req.Method != http.MethodPost || req.Header.Get("Content-Type") != "application/json" {
		r.t.Errorf("%s of %s", req.Method, req.Header.Get("Content-Type"))
	}
	r.mu.Lock()
	r.arrivals = append(r.arrivals, a)
	answer := r.answer
	r.mu.Unlock()
	recorder := &statusRecorder{w, http.StatusNoContent}
	if answer != nil {
		recorder.status = http.StatusOK
		answer(recorder, req)
	} else {
		w.WriteHeader(http.StatusNoContent)
	}
	if recorder.status/100 != 2 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.accepted, a.id) {
		r.accepted = append(r.accepted, a.id)
		r.decoded = append(r.decoded, a.decode(r.t).Events...)
	}
}

type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (s *statusRecorder) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

func (r *receiver) answers(answer http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// all returns the requests so far.
func (r *receiver) all() []arrival {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.arrivals)
}

// events returns the events that were accepted, in order, those of a repeated batch
// once.
func (r *receiver) events() []arrivedEvent {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clip(r.decoded)
}

func (a arrival) decode(t *testing.T) (body arrivedBody) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), &body); err != nil {
		t.Errorf("%v in %s", err, a.body)
	}
	return body
}

// signedBy reports whether one of the request's signatures is made with a secret, as
// Standard Webhooks describe it.
func (a arrival) signedBy(secret []byte) bool {
	mac := hmac.New(sha256.New, secret)
	io.WriteString(mac, a.id+"."+a.timestamp+"."+a.body)
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	return slices.Contains(strings.Split(a.signature, " "), want)
}

func answering(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// quickly are times for tests. Answer stays long: the machine may be busy.
var quickly = Timing{
	Gather: time.Millisecond, Batch: 20 * time.Millisecond, Answer: 30 * time.Second,
	FirstRetry: time.Millisecond, LastRetry: 20 * time.Millisecond,
}

// start opens a manager, on loopback receivers, which the test closes. Its first Set
// has no hooks, so that those of the test are new.
func start(t *testing.T, o Options) *Manager {
	t.Helper()
	m := reopen(t, o)
	set(t, m)
	return m
}

// reopen opens a manager as start, without its first Set.
func reopen(t *testing.T, o Options) *Manager {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Timing == (Timing{}) {
		o.Timing = quickly
	}
	o.AllowPrivate = true
	m, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeNow(t, m) })
	return m
}

// closeNow closes a manager without waiting for requests.
func closeNow(t *testing.T, m *Manager) {
	t.Helper()
	done, cancel := context.WithCancel(context.Background())
	cancel()
	if err := m.Close(done); err != nil {
		t.Errorf("closing: %v", err)
	}
}

func set(t *testing.T, m *Manager, hooks ...Hook) {
	t.Helper()
	if err := m.Set(hooks); err != nil {
		t.Fatal(err)
	}
}

var testSecret = []byte("a secret of 32 bytes for testing")

// hookTo returns a hook of the app "shop".
func hookTo(url string) Hook {
	return Hook{ID: "hook_1", App: "shop", URL: url, Enabled: true, Secrets: [][]byte{testSecret}}
}

// emit emits n events, whose users are numbers from first on.
func emit(m *Manager, app string, first, n int) {
	for i := range n {
		m.Emit(Event{Type: MemberJoined, App: app, Channel: "presence-room.1", User: itoa(first + i)})
	}
}

// until waits for a condition.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("after three minutes: no %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// untilEvents waits until a receiver has accepted n events, and returns them.
func (r *receiver) untilEvents(n int) []arrivedEvent {
	r.t.Helper()
	until(r.t, "events", func() bool { return len(r.events()) >= n })
	events := r.events()
	if len(events) != n {
		r.t.Fatalf("%d events, want %d: %+v", len(events), n, events)
	}
	return events
}

// checkUsers expects events of users with consecutive numbers.
func checkUsers(t *testing.T, events []arrivedEvent, first int) {
	t.Helper()
	for i, e := range events {
		if e.Type != MemberJoined || e.User != itoa(first+i) {
			t.Fatalf("event %d is %+v, want user %d", i, e, first+i)
		}
	}
}
