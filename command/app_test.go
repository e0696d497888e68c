package command

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

func TestLargestPageOfAppsFitsIntoAnAnswer(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 123456789, time.FixedZone("", 5*3600+1800))
	large := int64(1_000_000)
	app := manage.App{
		ID: strings.Repeat("x", 24), Name: strings.Repeat("\U0001F600", 100), Created: now,
		RateLimit:      &manage.Rate{Publishes: 1_000_000, Window: "23h59m59.999999999s"},
		MaxConnections: &large, MaxChannels: &large, MaxBody: &large, Connections: 1_000_000,
		AllowedOrigins: []string{strings.Repeat("o", manage.MaxBody)}, // as much as a PATCH can contain
	}
	for range keystore.MaxRules {
		app.Channels = append(app.Channels, manage.Rule{
			Match: strings.Repeat("x", 201), Access: keystore.AccessClosed,
			History: &manage.History{Messages: 10_000, Age: "23h59m59.999999999s"},
		})
	}
	for range 100 { // 50 valid keys and 50 invalid ones
		app.Keys = append(app.Keys, manage.Key{
			ID: strings.Repeat("x", 24), Kind: "subscribe", Label: strings.Repeat("\U0001F600", 100), Last4: "0000",
			Created: now, Expires: &now, Revoked: &now, LastUsed: &now,
			Scopes: []keystore.Scope{keystore.ScopePublish, keystore.ScopeManage}, Algorithm: keystore.HS256,
		})
	}
	text, err := json.Marshal(app)
	if err != nil {
		t.Fatal(err)
	}
	if n := listPage * (len(text) + 1); n > maxAdminAnswer {
		t.Errorf("%d apps can take %d bytes, more than the %d that are read", listPage, n, maxAdminAnswer)
	}
}

func TestAnswerOfTheAdminEndpointThatDoesNotEndIsCutOff(t *testing.T) {
	sent := make(chan int, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n, chunk := 0, bytes.Repeat([]byte(" "), 1<<20)
		for {
			more, err := w.Write(chunk)
			n += more
			if err != nil {
				sent <- n
				return
			}
		}
	}))
	defer server.Close()
	c := &adminClient{addr: strings.TrimPrefix(server.URL, "http://")}
	_, err := c.ask(http.MethodGet, "/realtime/apps/x", nil)
	if err == nil || !strings.Contains(err.Error(), "check --address") {
		t.Errorf("got %v", err)
	}
	if n := <-sent; n > 64<<20 { // the kernel's buffers come on top
		t.Errorf("%d MiB were read", n>>20)
	}
}
