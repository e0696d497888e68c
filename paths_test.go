package realtime

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

func TestOtherSpellingsAreCleanedOrRedirected(t *testing.T) {
	h := &Handler{PublishPath: "/publish", SocketPath: "/rt/socket.io"}
	for path, want := range map[string]struct {
		place place
		exact bool
	}{
		"/publish":          {publishPlace, true},
		"//publish":         {publishPlace, true},
		"/./publish":        {publishPlace, true},
		"/x/../publish":     {publishPlace, true},
		"/publish/":         {publishPlace, false},
		"/publish//":        {publishPlace, false},
		"/Publish":          {publishPlace, false},
		"/rt/socket.io":     {socketPlace, true},
		"/rt/socket.io/":    {socketPlace, true},
		"//rt//socket.io//": {socketPlace, true},
		"/RT/socket.io/":    {socketPlace, false},
		"/publish/x":        {notOurs, false},
		"/publish/..":       {notOurs, false},
		"/xpublish":         {notOurs, false},
		"publish":           {notOurs, false},
		"":                  {notOurs, false},
		"/":                 {notOurs, false},
		"*":                 {notOurs, false},
	} {
		if place, exact := h.find(path); place != want.place || exact != want.exact {
			t.Errorf("%q: %v %t, want %v %t", path, place, exact, want.place, want.exact)
		}
	}
}

func TestRedirectStaysOnTheSite(t *testing.T) {
	h := &Handler{PublishPath: "/publish", SocketPath: "/socket.io", logger: zap.NewNop()}
	for _, c := range []struct{ original, current, location string }{
		{"/publish/", "/publish/", "/publish"},
		{"/rt/publish/", "/publish/", "/rt/publish"},
		{"//evil.example/publish/", "/publish/", "/evil.example/publish"},
		{"//evil.example/..//publish/", "//evil.example/..//publish/", "/publish"},
		{"/events", "/publish/", ""}, // a rewrite, which the client cannot know about
	} {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		original := *r
		original.URL = r.URL.JoinPath() // a copy
		original.URL.Path = c.original
		r = r.WithContext(context.WithValue(r.Context(), caddyhttp.OriginalRequestCtxKey, original))
		r.URL.Path = c.current
		w := httptest.NewRecorder()
		h.redirect(w, r, publishPlace)
		status := http.StatusPermanentRedirect
		if c.location == "" {
			status = http.StatusNotFound
		}
		if got := w.Header().Get("Location"); got != c.location || w.Code != status {
			t.Errorf("%s as %s: %d to %q, want %d to %q", c.original, c.current, w.Code, got, status, c.location)
		}
	}
}
