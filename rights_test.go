package realtime

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/tests/client"
)

// sign signs claims as a backend does.
func sign(t *testing.T, secret string, claims jwt.MapClaims) string {
	t.Helper()
	claims["exp"] = time.Now().Add(time.Hour).Unix()
	raw, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// A client with a good token must not make the gateway keep one for each channel
// that it asks for and is not in.
func TestTokensOfChannelsThatASocketIsNotInAreForgotten(t *testing.T) {
	s := newSite(t, func(app *App, _ *Handler) { app.MaxChannels = 2 })
	made := s.newApp()
	key, err := s.registry.AddKey(made.App.ID, keystore.KeySpec{Kind: keystore.Sign})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.registry.Update(made.App.ID, func(app *keystore.App) error {
		app.Rules = []keystore.Rule{{Match: "closed.*", Access: keystore.AccessClosed}, {Match: "*", Access: keystore.AccessToken}}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	raw := sign(t, key.Secret, jwt.MapClaims{"sub": "1", "channels": []string{"*"}})
	m := s.dial(client.OverWebSocket, made.App.ID, made.SubscribeKey)
	subscribe := func(id int, channel string) {
		options, err := json.Marshal(map[string]string{"token": raw})
		if err != nil {
			t.Fatal(err)
		}
		m.emit(fmt.Sprintf(`%d["subscribe",%q,%s]`, id, channel, options))
	}
	for i := range 20 {
		subscribe(2*i, fmt.Sprintf("c.%d", i))
		subscribe(2*i+1, fmt.Sprintf("closed.%d", i))
	}
	sock := s.sockets.of(made.App.ID)[0]
	kept := func() int {
		r := sock.rights.Load()
		if r == nil {
			return 0
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.of)
	}
	m.emit(`99["unsubscribe","c.0"]`)
	until(t, "it is in one channel", func() bool { return sock.member.Len() == 1 })
	if n := kept(); n != 1 {
		t.Errorf("%d tokens are kept of one channel", n)
	}
}
