package command

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/commandtest"
	"github.com/seed-c079cc48/caddy-realtime/message"
)

// A batchGateway accepts publishes, and keeps their bodies in their order, by key.
type batchGateway struct {
	// refuse answers a request instead of the gateway if it returns true.
	refuse func(w http.ResponseWriter, n, messages, size int) bool

	mu       sync.Mutex
	requests int
	keys     []string // of the accepted requests
	sizes    []int    // messages in each of them
	events   []string
}

func newBatchGateway(t *testing.T, refuse func(w http.ResponseWriter, n, messages, size int) bool) *batchGateway {
	t.Helper()
	g := &batchGateway{refuse: refuse}
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	commandtest.SetSite(t, server.URL)
	return g
}

func (g *batchGateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.requests++
	body, _ := io.ReadAll(r.Body)
	batch, err := message.Decode(body)
	all := batch.Several
	if all == nil {
		all = []message.Publication{batch.One}
	}
	switch {
	case err != nil:
		answerError(w, http.StatusBadRequest, "invalid_json", err.Error())
		return
	case g.refuse != nil && g.refuse(w, g.requests, len(all), len(body)):
		return
	}
	g.keys = append(g.keys, r.Header.Get("Idempotency-Key"))
	g.sizes = append(g.sizes, len(all))
	var results []string
	for i, one := range all {
		g.events = append(g.events, one.Event)
		results = append(results, fmt.Sprintf(`{"id":"id-%d","offset":1,"subscribers":2}`, i))
	}
	if batch.Several == nil {
		_, _ = io.WriteString(w, results[0])
		return
	}
	_, _ = io.WriteString(w, `{"results":[`+strings.Join(results, ",")+`]}`)
}

func answerError(w http.ResponseWriter, status int, code, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": code, "message": text}})
}

// eventLines returns lines with the events e1, e2, … and data of a size.
func eventLines(n, size int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"channel\":\"c\",\"event\":\"e%d\",\"data\":\"%s\"}\n", i+1, strings.Repeat("x", size))
	}
	return b.String()
}

func (g *batchGateway) mustHave(t *testing.T, events int) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.events) != events {
		t.Fatalf("%d events, want %d", len(g.events), events)
	}
	for i, event := range g.events {
		if want := fmt.Sprintf("e%d", i+1); event != want {
			t.Fatalf("event %d is %s, want %s", i, event, want)
		}
	}
}

func TestFileIsPublishedInBatchesEachWithItsOwnKey(t *testing.T) {
	g := newBatchGateway(t, nil)
	file := filepath.Join(t.TempDir(), "events.ndjson")
	text := "\ufeff\n" + strings.ReplaceAll(eventLines(250, 1), "\n", "\r\n \t\r\n")
	if err := os.WriteFile(file, []byte(strings.TrimRight(text, "\r\n\t ")), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ more, want string }{
		{"", "250 messages\t500 subscribers\n"},
		{" --json", `{"last_id":"id-49","lines":500,"messages":250,"subscribers":500}` + "\n"},
	} {
		result := commandtest.Run(t, nil, strings.Fields("publish --file "+file+c.more)...)
		if result.Err != nil || result.Stdout != c.want || result.Stderr != "" {
			t.Fatalf("got %+v, want %q", result, c.want)
		}
		g.mustHave(t, 250)
		if got := fmt.Sprint(g.sizes); got != "[100 100 50]" {
			t.Fatal(got)
		}
		g.events, g.sizes = nil, nil
	}
	seen := map[string]bool{}
	for _, key := range g.keys {
		seen[key] = true
	}
	if len(seen) != 6 || seen[""] {
		t.Errorf("the keys are %q", g.keys)
	}
}

func TestFileBoundsItsBatchesInBytes(t *testing.T) {
	for name, refuse := range map[string]func(w http.ResponseWriter, n, messages, size int) bool{
		"at the default max_body": func(w http.ResponseWriter, _, _, size int) bool {
			if size > 1<<20 {
				answerError(w, http.StatusInternalServerError, "too_much", "A body of more than 1 MiB.")
			}
			return size > 1<<20
		},
		"at a lower max_body": func(w http.ResponseWriter, _, _, size int) bool {
			if size > 100_000 {
				answerError(w, http.StatusRequestEntityTooLarge, "payload_too_large", "The limit is 100000.")
			}
			return size > 100_000
		},
		"at a rate limit below a batch": func(w http.ResponseWriter, _, messages, _ int) bool {
			if messages > 7 {
				answerError(w, http.StatusBadRequest, "invalid_request", "This app may publish 7 times within 1m.")
			}
			return messages > 7
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newBatchGateway(t, refuse)
			result := commandtest.Run(t, strings.NewReader(eventLines(130, 12_000)), "publish", "--file", "-")
			if result.Err != nil {
				t.Fatal(result)
			}
			g.mustHave(t, 130)
			if len(g.sizes) > 60 {
				t.Errorf("%d batches: %v", len(g.sizes), g.sizes)
			}
		})
	}
}

func TestLineAsLargeAsABodyIsPublished(t *testing.T) {
	g := newBatchGateway(t, nil)
	empty := `{"channel":"c","event":"e1","data":""}`
	whole := strings.Replace(empty, `""`, `"`+strings.Repeat("x", maxLine-len(empty))+`"`, 1)
	result := commandtest.Run(t, strings.NewReader(whole), "publish", "--file", "-")
	if result.Err != nil || len(whole) != maxLine {
		t.Fatal(result)
	}
	g.mustHave(t, 1)
	result = commandtest.Run(t, strings.NewReader(whole+" \n"), "publish", "--file", "-")
	commandtest.MustFail(t, result, "publish", "stdin:1: the line has more than 1.0 MiB")
}

func TestBadLineIsToldWithItsPlaceAndNothingOfItsBatchIsSent(t *testing.T) {
	for name, c := range map[string]struct{ line, says string }{
		"no JSON":                 {"{", "The JSON ends early"},
		"no object":               {"[1]", "an array"},
		"text":                    {"orders.42", ""},
		"two objects":             {`{"channel":"c","event":"e"}{"channel":"c","event":"e"}`, ""},
		"no channel":              {`{"event":"e"}`, `"channel" is missing`},
		"no event":                {`{"channel":"c"}`, `"event" is missing`},
		"an unknown field":        {`{"channel":"c","event":"e","to":1}`, `Unknown field "to"`},
		"a bad channel":           {`{"channel":"no space","event":"e"}`, "The channel's name has ' '"},
		"a reserved event":        {`{"channel":"c","event":"connect"}`, "reserved"},
		"user and channel":        {`{"user":"42","channel":"c","event":"e"}`, `"channel" and "user" are both present`},
		"user of no characters":   {`{"user":"","event":"e"}`, "1 to 128 printable characters"},
		"channels":                {`{"channels":["c"],"event":"e"}`, `give each line one "channel"`},
		"messages":                {`{"messages":[{"channel":"c","event":"e"}]}`, `give each line one "channel"`},
		"bytes that are no UTF-8": {"{\"channel\":\"c\",\"event\":\"\xff\"}", "UTF-8"},
		"a zero byte":             {"\x00", ""},
		"hostile text":            {`{"` + "\u009b2J\u202e\u007f" + `":1}`, ""},
		"a line without end":      {strings.Repeat("x", maxLine+1), "more than 1.0 MiB"},
		"deep nesting":            {`{"channel":"c","event":"e","data":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + "}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, before := range []int{0, 1, 99, 100, 150} {
				g := newBatchGateway(t, nil)
				input := eventLines(before, 1) + c.line + "\n" + eventLines(3, 1)
				result := commandtest.Run(t, strings.NewReader(input), "publish", "--file", "-")
				published := before / 100 * 100
				commandtest.MustFail(t, result, name, fmt.Sprintf(`stdin:%d: .*%s.*--skip %d --idempotency-key '\w+'`, before+1, regexp.QuoteMeta(c.says), published))
				g.mustHave(t, published)
			}
		})
	}
}

func TestGatewaysRefusalOfALineNamesTheLine(t *testing.T) {
	newBatchGateway(t, func(w http.ResponseWriter, n, _, _ int) bool {
		if n == 2 {
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = io.WriteString(w, `{"error":{"code":"invalid_channel","message":"messages[3]: No.\u009b2J","index":3}}`)
		}
		return n == 2
	})
	result := commandtest.Run(t, strings.NewReader(eventLines(150, 1)), "publish", "--file", "-")
	commandtest.MustFail(t, result, "publish", `stdin:104: No\..*100 messages are published, up to line 100.*--skip 100 `)
}

func TestBatchIsRepeatedWithItsKey(t *testing.T) {
	for name, c := range map[string]struct {
		refuse func(w http.ResponseWriter)
		says   string
	}{
		"after a 503":                {func(w http.ResponseWriter) { answerError(w, 503, "unavailable", "Later.") }, "Later.; trying again in 0s"},
		"after a 409":                {func(w http.ResponseWriter) { answerError(w, 409, "idempotency_in_progress", "Soon.") }, "Soon.; trying again"},
		"after a 429":                {func(w http.ResponseWriter) { answerError(w, 429, "rate_limited", "Slower.") }, "Slower.; trying again"},
		"after a proxy's 502":        {func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) }, "502 Bad Gateway.*trying again"},
		"after a lost connection":    {func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, "EOF.*trying again"},
		"after half an answer":       {func(w http.ResponseWriter) { w.Header().Set("Content-Length", "9"); w.WriteHeader(http.StatusOK) }, "EOF.*trying again"},
		"after an error of hostiles": {func(w http.ResponseWriter) { answerError(w, 503, "x", hostileText) }, "owned"},
	} {
		t.Run(name, func(t *testing.T) {
			var refused int
			g := newBatchGateway(t, func(w http.ResponseWriter, n, _, _ int) bool {
				if n%2 == 0 {
					return false
				}
				refused++
				w.Header().Set("Retry-After", "0")
				c.refuse(w)
				return true
			})
			result := commandtest.Run(t, strings.NewReader(eventLines(150, 1)), strings.Fields("publish --file - --idempotency-key mine")...)
			if result.Err != nil || result.Stdout != "150 messages\t300 subscribers\n" || refused != 2 {
				t.Fatalf("got %+v, %d refused", result, refused)
			}
			commandtest.MustSay(t, result.Stderr, c.says)
			commandtest.MustBeHarmless(t, result, []string{name})
			g.mustHave(t, 150)
			if got := fmt.Sprint(g.keys); got != "[mine:1 mine:101]" {
				t.Error(got)
			}
		})
	}
}

func TestRepeatsEndWithHowFarItCameAndHowToGoOn(t *testing.T) {
	for name, c := range map[string]struct {
		status   int
		after    string
		says     string
		requests int
	}{
		"unavailable for ever":     {503, "0", `8 attempts failed.*No\. 100 messages are published, up to line 100\. To go on: --skip 100 --idempotency-key 'k'$`, 9},
		"a wait of an hour":        {429, "3600", `No\. \(the answer's Retry-After is 1h\).*--skip 100`, 2},
		"an absurd wait":           {429, "2147483648", `8 attempts failed`, 9},
		"a key that is revoked":    {401, "", `No\. 100 messages .*--skip 100`, 2},
		"a server's fault":         {500, "", `No\. 100 messages .*--skip 100`, 2},
		"a refusal of each length": {413, "", `stdin:101: No.*--skip 100`, 8},
	} {
		t.Run(name, func(t *testing.T) {
			g := newBatchGateway(t, func(w http.ResponseWriter, n, _, _ int) bool {
				if n > 1 {
					w.Header().Set("Retry-After", c.after)
					answerError(w, c.status, "code", "No.")
				}
				return n > 1
			})
			p := testPublisher(t, 0)
			err := p.run(t.Context(), strings.NewReader(eventLines(300, 1)))
			if err == nil || !regexp.MustCompile(c.says).MatchString(err.Error()) || g.requests != c.requests {
				t.Errorf("got %v after %d requests", err, g.requests)
			}
			g.mustHave(t, 100)
		})
	}
}

// testPublisher returns a publisher for the site in the environment, which does not
// wait long.
func testPublisher(t *testing.T, skip int) *filePublisher {
	t.Helper()
	site := siteAccount{origin: os.Getenv("REALTIME_URL"), path: "/publish", app: "app_1", key: "pk_live_secret"}
	p := newFilePublisher(newPublishSender(site), "stdin", skip, newProgress(io.Discard))
	p.key = "k"
	p.retry.first, p.retry.longest = time.Millisecond, time.Millisecond
	return p
}

func TestLostBatchIsToldAsPerhapsPublished(t *testing.T) {
	newBatchGateway(t, func(_ http.ResponseWriter, n, _, _ int) bool {
		if n > 1 {
			panic(http.ErrAbortHandler)
		}
		return false
	})
	err := testPublisher(t, 0).run(t.Context(), strings.NewReader(eventLines(150, 1)))
	if err == nil || !regexp.MustCompile(`Lines 101 to 150 may have been published; within 5 minutes.*--skip 100 --idempotency-key 'k'$`).MatchString(err.Error()) {
		t.Error(err)
	}
	p := testPublisher(t, 0)
	p.sender.site.origin = commandtest.ClosedOrigin(t)
	err = p.run(t.Context(), strings.NewReader(eventLines(150, 1)))
	if err == nil || strings.Contains(err.Error(), "may have been") || !strings.Contains(err.Error(), "Nothing is published.") {
		t.Error(err)
	}
}

func TestDoubtfulBatchIsNotRepeatedAfterTheGatewayForgetsItsKey(t *testing.T) {
	g := newBatchGateway(t, func(w http.ResponseWriter, n, _, _ int) bool {
		if n == 1 {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
		w.Header().Set("Retry-After", "300")
		answerError(w, 503, "unavailable", "Later.")
		return true
	})
	err := testPublisher(t, 0).run(t.Context(), strings.NewReader(eventLines(1, 1)))
	if err == nil || !strings.Contains(err.Error(), "Lines 1 to 1 may have been published") || g.requests != 2 {
		t.Errorf("got %v after %d requests", err, g.requests)
	}
}

func TestSkipGoesOnWhereItStopped(t *testing.T) {
	g := newBatchGateway(t, nil)
	input := strings.Repeat("x", maxLine+1) + "\nno JSON\n" + eventLines(3, 1)
	result := commandtest.Run(t, strings.NewReader(input), strings.Fields("publish --file - --skip 2 --json")...)
	if result.Err != nil || result.Stdout != `{"last_id":"id-2","lines":5,"messages":3,"subscribers":6}`+"\n" {
		t.Fatalf("got %+v", result)
	}
	g.mustHave(t, 3)
	result = commandtest.Run(t, strings.NewReader(input), strings.Fields("publish --file - --skip 6")...)
	commandtest.MustFail(t, result, "publish", "only 5 lines, and --skip is 6")
}

func TestInputThatPausesIsPublished(t *testing.T) {
	g := newBatchGateway(t, nil)
	input, output := io.Pipe()
	p := testPublisher(t, 0)
	p.idle = time.Millisecond
	done := make(chan error)
	go func() { done <- p.run(t.Context(), input) }()
	for i := range 3 {
		if _, err := fmt.Fprintf(output, "{\"channel\":\"c\",\"event\":\"e%d\"}\n", i+1); err != nil {
			t.Fatal(err)
		}
		for published := -1; published <= i; { // it fails with the test's timeout
			g.mu.Lock()
			published = len(g.events)
			g.mu.Unlock()
		}
	}
	_ = output.Close()
	if err := <-done; err != nil || p.messages != 3 {
		t.Error(p.messages, err)
	}
}

func TestInputThatFailsEndsWithItsError(t *testing.T) {
	g := newBatchGateway(t, nil)
	result := commandtest.Run(t, io.MultiReader(strings.NewReader(eventLines(101, 1)), iotest.ErrReader(io.ErrClosedPipe)), "publish", "--file", "-")
	commandtest.MustFail(t, result, "publish", `stdin:102: .*closed pipe.*--skip 100 `)
	g.mustHave(t, 100)
	result = commandtest.Run(t, nil, "publish", "--file", t.TempDir())
	commandtest.MustFail(t, result, "publish", "is a directory")
}

func TestFlagsThatExcludeEachOtherAreTold(t *testing.T) {
	g := newBatchGateway(t, nil)
	for command, says := range map[string]string{
		"publish --file x a b":                                      "--file takes no arguments",
		"publish --file x --channel a":                              `--channel is for one event.*"channel"`,
		"publish --file x --no-history":                             `"history"`,
		"publish --file x --skip -1":                                "--skip -1 is negative",
		"publish --file /none/such":                                 "no such file",
		"publish --skip 3 a b":                                      "--skip is for --file",
		"publish --file x --user 42":                                `--user is for one event.*"channel" or "user"`,
		"publish --channel a":                                       "arg",
		"publish --channel a b 1 2":                                 "arg",
		"publish a":                                                 "for whom",
		"publish a b --idempotency-key=":                            "1 to 200 printable",
		"publish a b --idempotency-key=\u00e9":                      "1 to 200 printable",
		"publish a b --idempotency-key=" + strings.Repeat("k", 201): "1 to 200 printable",
	} {
		commandtest.MustFail(t, commandtest.Run(t, nil, strings.Fields(command)...), command, says)
	}
	if g.requests != 0 {
		t.Errorf("%d requests", g.requests)
	}
}

func TestLargeFileIsNotHeldInMemory(t *testing.T) {
	const line, total, most = 10_000, 16 << 20, 10 << 20
	var highest uint64
	newBatchGateway(t, func(_ http.ResponseWriter, n, _, _ int) bool {
		if n%4 == 0 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			highest = max(highest, m.HeapAlloc)
		}
		return false
	})
	one := []byte(eventLines(1, line))
	result := commandtest.Run(t, &repeatedInput{one, total / len(one) * len(one)}, "publish", "--file", "-")
	if result.Err != nil || !strings.HasPrefix(result.Stdout, fmt.Sprintf("%d messages\t", total/len(one))) {
		t.Fatalf("got %+v", result)
	}
	if highest == 0 || highest > most {
		t.Errorf("%d bytes in use while publishing %d", highest, total)
	}
}

// A repeatedInput is a line again and again, up to a number of bytes.
type repeatedInput struct {
	line []byte
	left int
}

func (r *repeatedInput) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	at := len(r.line) - 1 - (r.left-1)%len(r.line)
	n := copy(p, r.line[at:])
	r.left -= n
	return n, nil
}
