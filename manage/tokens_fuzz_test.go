package manage_test

import (
	"encoding/json"
	"net/http"
	"reflect"
	"testing"
	"unicode/utf8"

	"github.com/seed-c079cc48/caddy-realtime/internal/managetest"
)

// FuzzNewToken asks for tokens. What is accepted is claimed as it was sent, within
// the bounds; a refusal is one of ours.
func FuzzNewToken(f *testing.F) {
	for _, seed := range []string{
		`{"user":"42"}`,
		`{"user":"42","channels":["private-user.42","presence-*",{"match":"room.1","client_events":true}],"info":{"name":"Ann"},"expires_in":"10m"}`,
		`{"user":"","channels":[]}`,
		`{"user":"\ud800"}`,
		`{"user":"a","channels":[null]}`,
		`{"user":"a","channels":["a*b"]}`,
		`{"user":"a","channels":[{"match":"*","match":"b"}]}`,
		`{"user":"a","info":null,"expires_in":null}`,
		`{"user":"a","info":"\u2028<>&\ud800"}`,
		`{"user":"a","info":1e999}`,
		`{"user":"a","expires_in":"24h0.5s"}`,
		`{"user":"a","expires_in":"1.5s"}`,
		`{"user":"a","exp":1}`,
	} {
		f.Add([]byte(seed))
	}
	s := managetest.New(f)
	app := s.Create(f)
	w := s.Do("POST", "/realtime/keys/"+app.ID, `{"kind":"sign"}`)
	var key struct{ ID, Key string }
	if err := json.Unmarshal(w.Body.Bytes(), &key); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		w := s.Do("POST", "/realtime/tokens/"+app.ID, string(body))
		switch w.Code {
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
			return
		case http.StatusCreated:
		default:
			t.Fatalf("%s: %d %s", body, w.Code, w.Body)
		}
		var made struct{ Token, Key string }
		if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil || made.Key != key.ID || len(made.Token) > 8<<10 {
			t.Fatalf("%s: %s, %v", body, w.Body, err)
		}
		var sent struct {
			User     string
			Channels []any
			Info     json.RawMessage
		}
		if err := json.Unmarshal(body, &sent); err != nil {
			t.Fatalf("%s is accepted: %v", body, err)
		}
		var says struct {
			Sub      string
			Iat, Exp int64
			Channels []any
			Info     json.RawMessage
		}
		if err := json.Unmarshal(verified(t, made.Token, key.Key), &says); err != nil {
			t.Fatal(err)
		}
		life := says.Exp - says.Iat
		if n := utf8.RuneCountInString(says.Sub); says.Sub != sent.User || n < 1 || n > 128 || life < 0 || life > 24*60*60 || len(says.Info) > 1<<10 {
			t.Fatalf("%s claims %+v", body, says)
		}
		if len(sent.Channels) != len(says.Channels) || len(sent.Channels) > 0 && !reflect.DeepEqual(sent.Channels, says.Channels) {
			t.Fatalf("%s claims the channels %v", body, says.Channels)
		}
		if string(sent.Info) == "null" {
			sent.Info = nil
		}
		if !sameJSON(sent.Info, says.Info) {
			t.Fatalf("%s claims the info %s", body, says.Info)
		}
	})
}

// sameJSON reports whether two texts are the same JSON, or both absent.
func sameJSON(a, b json.RawMessage) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	var x, y any
	errX, errY := json.Unmarshal(a, &x), json.Unmarshal(b, &y)
	if errX != nil || errY != nil { // a number that no float holds
		return (errX == nil) == (errY == nil)
	}
	return reflect.DeepEqual(x, y)
}
