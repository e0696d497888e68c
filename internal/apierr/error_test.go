package apierr

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestErrorIsWrittenInTheOneShape(t *testing.T) {
	w := httptest.NewRecorder()
	InvalidRequest("%q is <wrong> & more", "x").Write(w)
	if w.Body.String() != `{"error":{"code":"invalid_request","message":"\"x\" is <wrong> & more"}}`+"\n" {
		t.Fatalf("got %s", w.Body)
	}
}

func TestErrorIsTheDataOfARefusedSocket(t *testing.T) {
	data, err := json.Marshal(AppDisabled())
	if err != nil || !strings.HasPrefix(string(data), `{"code":"app_disabled","message":"This app is disabled.`) {
		t.Fatalf("got %s, %v", data, err)
	}
}

func TestFaultsOfOursAreNotShown(t *testing.T) {
	wrapped := fmt.Errorf("publishing: %w", AppDisabled())
	if e := As(wrapped); e.Code != "app_disabled" {
		t.Errorf("a wrapped refusal is %s", e)
	}
	if e := As(errors.New("disk on fire")); e.Code != "unavailable" || strings.Contains(e.Message, "fire") || e.RetryAfter <= 0 {
		t.Errorf("a fault is %s", e)
	}
}
