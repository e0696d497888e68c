package realtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func TestErrorIsWrittenInTheOneShape(t *testing.T) {
	w := httptest.NewRecorder()
	errInvalidRequest("%q is <wrong> & more", "x").write(w, httptest.NewRequest(http.MethodGet, "/", http.NoBody))
	if w.Body.String() != `{"error":{"code":"invalid_request","message":"\"x\" is <wrong> & more"}}`+"\n" {
		t.Fatalf("got %s", w.Body)
	}
}

func TestErrorIsTheDataOfARefusedSocket(t *testing.T) {
	data, err := json.Marshal(errAppDisabled())
	if err != nil || !strings.HasPrefix(string(data), `{"code":"app_disabled","message":"This app is disabled.`) {
		t.Fatalf("got %s, %v", data, err)
	}
}

func TestErrorCodeIsInTheAccessLog(t *testing.T) {
	extra := new(caddyhttp.ExtraLogFields)
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	r = r.WithContext(context.WithValue(r.Context(), caddyhttp.ExtraLogFieldsCtxKey, extra))
	errAppDisabled().write(httptest.NewRecorder(), r)
	if got := fmt.Sprintf("%+v", extra); !strings.Contains(got, "realtime_error") || !strings.Contains(got, "app_disabled") {
		t.Fatalf("log fields: %s", got)
	}
}

func TestFaultsOfOursAreNotShown(t *testing.T) {
	wrapped := fmt.Errorf("publishing: %w", errAppDisabled())
	if e := asAPIError(wrapped); e.Code != "app_disabled" {
		t.Errorf("a wrapped refusal is %s", e)
	}
	if e := asAPIError(errors.New("disk on fire")); e.Code != "unavailable" || strings.Contains(e.Message, "fire") || e.RetryAfter <= 0 {
		t.Errorf("a fault is %s", e)
	}
}

func TestRetryAfterIsRoundedUp(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "1", time.Nanosecond: "1", time.Second: "1", time.Second + 1: "2", time.Minute: "60",
	} {
		if got := wholeSeconds(d); got != want {
			t.Errorf("%s is %s, want %s", d, got, want)
		}
	}
}

func TestDurationsAreShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Minute: "1m", time.Hour: "1h", 90 * time.Minute: "1h30m", 90 * time.Second: "1m30s",
		10 * time.Second: "10s", 20 * time.Minute: "20m", time.Hour + time.Second: "1h0m1s",
	} {
		if got := shortDuration(d); got != want {
			t.Errorf("%s is %s, want %s", d, got, want)
		}
	}
}

func TestQuotedInputIsShortAndPrintable(t *testing.T) {
	for _, s := range []string{strings.Repeat("é", 1000), "a\nb\x00\u202e", "\xff\xfe", ""} {
		got := quote(s)
		if len(got) > 150 || !utf8.ValidString(got) || strings.ContainsAny(got, "\n\x00\u202e") {
			t.Errorf("%q is quoted as %s", s, got)
		}
	}
}
