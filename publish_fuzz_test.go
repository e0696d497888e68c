package realtime

import (
	"errors"
	"mime"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/seed-c079cc48/caddy-realtime/access"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
)

// FuzzBodyType sends headers that describe the body. A body read as JSON is declared as
// JSON, exactly once; the refusal of anything else is readable.
func FuzzBodyType(f *testing.F) {
	for _, seed := range [][3]string{
		{"application/json", "", ""},
		{"application/json; charset=utf-8", "", "identity"},
		{"APPLICATION/JSON;charset=\"UTF8\"", "", "IDENTITY"},
		{" application/json ; x=1 ;", "", ""},
		{"application/json; charset=utf-16", "", ""},
		{"application/json; charset=utf-8; charset=utf-16", "", ""},
		{"application/json; charset*=utf-8''utf-16", "", ""},
		{"application/json;charset", "", ""},
		{"application/json, text/plain", "", ""},
		{"application/json", "application/json", ""},
		{"application/jsonp", "", ""},
		{"application/problem+json", "", ""},
		{"text/plain", "", ""},
		{"application/json", "", "gzip"},
		{"application/json", "", "identity, gzip"},
		{"application/json", "", "ıdentity"},
		{"application/\u017fon", "", ""},
		{"", "", ""},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, contentType, second, coding string) {
		r := &http.Request{Header: http.Header{}}
		for _, h := range [][2]string{{"Content-Type", contentType}, {"Content-Type", second}, {"Content-Encoding", coding}} {
			if h[1] != "" {
				r.Header[h[0]] = append(r.Header[h[0]], h[1])
			}
		}
		err := access.CheckBodyType(r)
		if err == nil {
			sent := strings.ToLower(strings.TrimSpace(contentType + second))
			name, rest, _ := strings.Cut(sent, ";")
			if strings.TrimSpace(name) != "application/json" || contentType != "" && second != "" {
				t.Fatalf("%q is taken for JSON", r.Header)
			}
			if strings.Contains(rest, "charset") {
				_, params, _ := mime.ParseMediaType(sent)
				if charset, ok := params["charset"]; ok && charset != "utf-8" && charset != "utf8" {
					t.Fatalf("%q is taken for UTF-8", r.Header)
				}
			}
			if coding = strings.TrimSpace(coding); coding != "" && len(coding) != len("identity") {
				t.Fatalf("%q is taken as it is", r.Header)
			}
			return
		}
		refusal, ok := errors.AsType[*apierr.Error](err)
		if !ok || !utf8.ValidString(refusal.Message) || len(refusal.Message) > 1000 ||
			refusal.Status != http.StatusUnsupportedMediaType && refusal.Status != http.StatusBadRequest {
			t.Fatalf("%q is refused with %v", r.Header, err)
		}
		if contentType == "application/json" && second == "" && coding == "" {
			t.Fatalf("%q is refused with %v", r.Header, err)
		}
	})
}
