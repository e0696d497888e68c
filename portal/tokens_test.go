package portal

import (
	"html"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// signer returns an app with a secret that signs tokens.
func (s *portalServer) signer(t *testing.T) (*keystore.App, keystore.Key) {
	t.Helper()
	app := s.Create(t)
	if w := s.send("app/"+app.ID, form("do", "add-key", "kind", "sign")); w.Code != http.StatusCreated {
		t.Fatal(w.Code)
	}
	app = s.MustHold(t, app.ID)
	return app, app.Keys[len(app.Keys)-1]
}

// makeToken makes a token with the portal's form.
func (s *portalServer) makeToken(t *testing.T, app string, pairs ...string) (token, page string) {
	t.Helper()
	w := s.send("app/"+app, form(append([]string{"do", "make-token"}, pairs...)...))
	page = w.Body.String()
	found := regexp.MustCompile(`id="new-token">([\w-]+\.[\w-]+\.[\w-]+)<`).FindStringSubmatch(page)
	if w.Code != http.StatusCreated || found == nil || w.Header().Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %s", w.Code, w.Header())
	}
	return found[1], page
}

func TestTokenIsMadeAndChecked(t *testing.T) {
	s := newPortalServer(t)
	app, key := s.signer(t)
	token, page := s.makeToken(t, app.ID, "user", " 42 ", "channels", "private-user.42\r\npresence-room.*", "info", `{"name":"Ann"}`, "expires_in", "10m")
	for _, want := range []string{`token: "` + token + `"`, `appId: "` + app.ID + `"`, `socket.emit("subscribe", "private-user.42")`} {
		if !strings.Contains(html.UnescapeString(page), want) {
			t.Errorf("the code lacks %s", want)
		}
	}
	if again := s.get("app/" + app.ID).Body.String(); strings.Contains(again, token) {
		t.Error("the token is shown again")
	}
	check := func(token, channel string) string {
		t.Helper()
		w := s.send("app/"+app.ID, form("do", "check-token", "token", token, "channel", channel))
		if w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Location") != "" {
			t.Fatalf("%d %s", w.Code, w.Header())
		}
		return w.Body.String()
	}
	for channel, want := range map[string]string{
		"":                "The token is valid</h3>\n<p>It is of the user <code>42</code>, valid until",
		"private-user.42": "It may subscribe to <code>private-user.42</code>.</strong> The channel gets rule 1, <code>private-*</code>.",
		"presence-room.9": "It may subscribe to <code>presence-room.9</code>.</strong> The channel gets rule 2",
		"orders":          "It may subscribe to <code>orders</code>.</strong> No rule matches it, so it is open.",
		"private-user.43": "It may not subscribe to <code>private-user.43</code>: <code>channel_forbidden</code></strong> The token does not allow this channel.",
	} {
		if got := check("\r\n"+token+" ", channel); !strings.Contains(got, want) || !strings.Contains(got, "signed with <code>"+key.ID) {
			t.Errorf("%q: no %s", channel, want)
		}
	}
	if _, err := s.Gateway.Registry.RevokeUser(app.ID, "42", time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := check(token, "orders"); !strings.Contains(got, "The token is refused: <code>token_revoked</code>") || !strings.Contains(got, "It may not subscribe to") || !strings.Contains(got, "Do not trust them") {
		t.Error("a revoked user's token is not refused")
	}
	if got := check(string(key.Verifier), ""); !strings.Contains(got, "This is a signing key, not a token.") || strings.Contains(got, string(key.Verifier)) {
		t.Error("a key that was pasted is shown")
	}
	if w := s.send("app/"+app.ID, form("do", "check-token", "token", token, "channel", "a b")); w.Code != http.StatusUnprocessableEntity || !strings.Contains(w.Body.String(), `value="a b"`) {
		t.Errorf("%d", w.Code)
	}
}

func TestWhatATokenSaysIsText(t *testing.T) {
	s := newPortalServer(t)
	app, _ := s.signer(t)
	info := `{"name":"</pre><script>alert(1)</script>{{.}}"}`
	token, page := s.makeToken(t, app.ID, "user", hostile, "channels", "a", "info", info)
	checked := s.send("app/"+app.ID, form("do", "check-token", "token", token)).Body.String()
	for what, page := range map[string]string{"made": page, "checked": checked} {
		if strings.Contains(page, "<script>") || strings.Contains(page, "<b ") || !strings.Contains(page, html.EscapeString(hostile)) {
			t.Errorf("%s: a claim is markup", what)
		}
	}
	if !strings.Contains(html.UnescapeString(checked), `"name": "</pre><script>alert(1)</script>{{.}}"`) {
		t.Error("the claims are not shown")
	}
	// Whoever made this one has no key of the app.
	forged := "eyJhbGciOiJIUzI1NiIsIngiOiI8c2NyaXB0PiJ9.eyJzdWIiOiI8c2NyaXB0PiJ9.AA"
	if got := s.send("app/"+app.ID, form("do", "check-token", "token", forged)).Body.String(); strings.Contains(got, "<script>") || !strings.Contains(got, "&lt;script&gt;") {
		t.Error("a claim is markup")
	}
}

func TestTokensThatCannotBeMadeAreRefusedWithWhatWasTyped(t *testing.T) {
	s := newPortalServer(t)
	app, _ := s.signer(t)
	for _, c := range []struct{ form, want string }{
		{form("do", "make-token", "user", "", "channels", "typed"), "printable characters"},
		{form("do", "make-token", "user", "42", "channels", "typed two"), "channels[0]: It is"},
		{form("do", "make-token", "user", "42", "channels", "typed", "info", "Ann"), "info is not JSON"},
		{form("do", "make-token", "user", "42", "channels", "typed", "info", `"`+strings.Repeat("a", 1024)+`"`), "info has 1026 bytes"},
		{form("do", "make-token", "user", "42", "channels", "typed", "expires_in", "25h"), "expires_in is"},
	} {
		w := s.send("app/"+app.ID, c.form)
		if body := w.Body.String(); w.Code != http.StatusBadRequest || !strings.Contains(body, c.want) || !strings.Contains(body, ">typed") || strings.Contains(body, "new-token") {
			t.Errorf("%s: %d, without %q", c.form, w.Code, c.want)
		}
	}
	none := s.Create(t)
	if w := s.send("app/"+none.ID, form("do", "make-token", "user", "42")); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "The app has no valid secret that signs tokens.") {
		t.Errorf("%d", w.Code)
	}
}

// A form that was refused can be sent again; one that made a token, or a reload of
// its page, makes no other.
func TestTokenFormMakesOneToken(t *testing.T) {
	s := newPortalServer(t)
	app, _ := s.signer(t)
	id := s.Gateway.Forms.ID()
	fields := func(user string) string { return form("do", "make-token", "form", id, "user", user, "channels", "a") }
	for _, c := range []struct {
		user string
		code int
	}{{"", http.StatusBadRequest}, {"42", http.StatusCreated}, {"42", http.StatusSeeOther}} {
		if w := s.send("app/"+app.ID, fields(c.user)); w.Code != c.code {
			t.Errorf("%q: %d", c.user, w.Code)
		}
	}
}
