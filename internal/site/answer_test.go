package site

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/seed-c079cc48/caddy-realtime/internal/limit"
)

const template = `{"{{secret}}":1}`

// A rewriter is what a plugin passes on that changes bodies and writes behind
// them.
type rewriter struct {
	*caddyhttp.ResponseWriterWrapper
}

func (w rewriter) Write(b []byte) (int, error) {
	return w.ResponseWriter.Write(bytes.ReplaceAll(b, []byte("{{secret}}"), []byte("hunter2")))
}

// An opaqueRewriter does not tell what it wraps.
type opaqueRewriter struct{ http.ResponseWriter }

func (w opaqueRewriter) Write(b []byte) (int, error) {
	return w.ResponseWriter.Write(bytes.ReplaceAll(b, []byte("{{secret}}"), []byte("hunter2")))
}

// behind answers with the template behind handlers that wrap the writer, and
// returns what a client gets.
func behind(t *testing.T, wrap func(http.ResponseWriter) http.ResponseWriter) (*http.Response, string, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		outer := wrap(w)
		Answer(outer, r, zap.New(core), new(limit.Seldom), func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "16")
			_, _ = io.WriteString(w, template)
		})
		_, _ = io.WriteString(outer, "{{secret}}") // such as a footer
	}))
	defer server.Close()
	res, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	server.Close() // and the handler has returned
	return res, string(body), logs
}

func wrapper(w http.ResponseWriter) *caddyhttp.ResponseWriterWrapper {
	return &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}
}

func TestNoHandlerOfASiteRewritesAnAnswer(t *testing.T) {
	buffers := func(int, http.Header) bool { return true }
	for name, wrap := range map[string]func(http.ResponseWriter) http.ResponseWriter{
		"none":             func(w http.ResponseWriter) http.ResponseWriter { return w },
		"a plugin":         func(w http.ResponseWriter) http.ResponseWriter { return rewriter{wrapper(w)} },
		"two":              func(w http.ResponseWriter) http.ResponseWriter { return rewriter{wrapper(rewriter{wrapper(w)})} },
		"one inside Caddy": func(w http.ResponseWriter) http.ResponseWriter { return wrapper(rewriter{wrapper(w)}) },
		"a buffer": func(w http.ResponseWriter) http.ResponseWriter {
			return caddyhttp.NewResponseRecorder(w, new(bytes.Buffer), buffers)
		},
	} {
		res, body, _ := behind(t, wrap)
		if res.StatusCode != http.StatusOK || body != template {
			t.Errorf("behind %s: %d %s", name, res.StatusCode, body)
		}
	}
}

func TestWhatCountsAnAnswerStillDoes(t *testing.T) {
	var log caddyhttp.ResponseRecorder
	_, body, _ := behind(t, func(w http.ResponseWriter) http.ResponseWriter {
		log = caddyhttp.NewResponseRecorder(w, nil, nil)
		return rewriter{wrapper(log)}
	})
	if body != template || log.Status() != http.StatusOK || log.Size() < len(template) {
		t.Errorf("the log has %d, %d bytes of %s", log.Status(), log.Size(), body)
	}
}

func TestAWriterThatHidesTheServersGetsNothingOfTheRequest(t *testing.T) {
	res, body, logs := behind(t, func(w http.ResponseWriter) http.ResponseWriter { return opaqueRewriter{w} })
	if res.StatusCode != http.StatusServiceUnavailable || !strings.HasPrefix(body, `{"error":{"code":"unavailable"`) {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if logs.FilterField(zap.String("type", "site.opaqueRewriter")).Len() != 1 {
		t.Errorf("the log does not name the writer: %v", logs.All())
	}
}
