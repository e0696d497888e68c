package realtime

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-c079cc48/caddy-realtime/message"
)

// published returns the messages so far.
func (p *recorder) published() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.got)
}

func TestSeveralAreAnsweredInTheirOrder(t *testing.T) {
	s := newPublishServer(t, nil)
	for _, c := range []struct{ body, want string }{
		{`{"channels":["b","a"],"event":"e","data":[1]}`, `b e [1],a e [1]`},
		{`{"messages":[{"channel":"a","event":"e","data":1},{"channel":"b","event":"f"},{"channel":"a","event":"e","data":2}]}`, `a e 1,b f absent,a e 2`},
		{`{"channels":["one"],"event":"e"}`, `one e absent`},
	} {
		before := len(s.recorder.published())
		res, body := s.do(t, s.request(t, c.body))
		var want []string
		for i, line := range s.recorder.published()[before:] {
			n := strconv.Itoa(before + i + 1)
			want = append(want, `{"id":"m-`+n+`","offset":`+n+`,"subscribers":3}`)
			if !strings.HasPrefix(line, s.shop.app+" ") {
				t.Errorf("published %q", line)
			}
		}
		if res.StatusCode != http.StatusOK || body != `{"results":[`+strings.Join(want, ",")+"]}\n" {
			t.Errorf("%d %s", res.StatusCode, body)
		}
		got := strings.ReplaceAll(strings.Join(s.recorder.published()[before:], ","), s.shop.app+" ", "")
		if got != c.want {
			t.Errorf("published %q, want %q", got, c.want)
		}
	}
	if res, _ := s.do(t, s.request(t, goodBody)); res.Header.Get("Ratelimit-Remaining") != "593" {
		t.Errorf("7 messages leave %s of 600", res.Header.Get("Ratelimit-Remaining"))
	}
}

func TestOneBadMessageRefusesAll(t *testing.T) {
	s := newPublishServer(t, nil)
	for _, c := range []struct {
		body   string
		status int
		code   string
		index  int
	}{
		{`{"messages":[{"channel":"a","event":"e"},{"channel":"b c","event":"e"}]}`, 422, "invalid_channel", 1},
		{`{"messages":[{"channel":"a","event":"connect"},{"channel":"b c","event":"e"}]}`, 422, "reserved_event", 0},
		{`{"messages":[{"channel":"a","event":"e"},{"channel":"b"}]}`, 400, "invalid_request", 1},
		{`{"channels":["a","b","*"],"event":"e"}`, 422, "invalid_channel", 2},
	} {
		res, body := s.do(t, s.request(t, c.body))
		var answer struct {
			Error struct {
				Code, Message string
				Index         *int
			}
		}
		err := json.Unmarshal([]byte(body), &answer)
		if e := answer.Error; err != nil || res.StatusCode != c.status || e.Code != c.code || e.Index == nil || *e.Index != c.index {
			t.Errorf("%s: %d %s", c.body, res.StatusCode, body)
		}
	}
	if got := s.recorder.published(); got != nil {
		t.Errorf("published %q", got)
	}
	if res, _ := s.do(t, s.request(t, goodBody)); res.Header.Get("Ratelimit-Remaining") != "599" {
		t.Error("refused messages were counted")
	}
}

func TestSeveralAreCountedAllOrNone(t *testing.T) {
	s := newPublishServer(t, func(e *publishEndpoint) { e.settings.RateLimit.Publishes = 5 })
	three := `{"channels":["a","b","c"],"event":"e"}`
	if res, body := s.do(t, s.request(t, three)); res.StatusCode != http.StatusOK || res.Header.Get("Ratelimit-Remaining") != "2" {
		t.Fatalf("%d %s", res.StatusCode, body)
	}
	res, body := s.do(t, s.request(t, three))
	wantError(t, res, body, http.StatusTooManyRequests, "rate_limited", "With these 3 messages, this app would have published more than 5 times within 1m")
	if res.Header.Get("Ratelimit-Remaining") != "2" || res.Header.Get("Retry-After") != "60" {
		t.Errorf("headers %v", res.Header)
	}
	res, body = s.do(t, s.request(t, `{"channels":["a","b","c","d","e","f"],"event":"e"}`))
	wantError(t, res, body, http.StatusBadRequest, "invalid_request", "The body has 6 messages, and this app may publish 5 times within 1m. Send fewer")
	if res, body := s.do(t, s.request(t, `{"channels":["a","b"],"event":"e"}`)); res.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", res.StatusCode, body)
	}
	if n := len(s.recorder.published()); n != 5 {
		t.Errorf("%d were published", n)
	}
}

// Publications that the portal makes do not say when they were received.
func TestTheDurationOfAPublishBeginsWithThePublish(t *testing.T) {
	s := newPublishServer(t, func(*publishEndpoint) {})
	app, ok := s.endpoint.registry.App(s.shop.app)
	if !ok {
		t.Fatal("no app")
	}
	p := s.endpoint.publisher
	all := []message.Publication{{Channel: "a", Event: "e"}, {Channel: "b", Event: "e"}}
	if _, _, err := p.Publish(t.Context(), app, all[0]); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.PublishAll(t.Context(), app, all); err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(p.stats)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "caddy_realtime_publish_duration_seconds" {
			continue
		}
		if h := f.GetMetric()[0].GetHistogram(); h.GetSampleCount() != 3 || h.GetSampleSum() > 3600 {
			t.Errorf("%d publishes took %g s", h.GetSampleCount(), h.GetSampleSum())
		}
		return
	}
	t.Error("no durations")
}
