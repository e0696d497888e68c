package portal

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

const (
	publicJWK = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}` // RFC 8037, appendix A.2
	publicPEM = "-----BEGIN PUBLIC KEY-----\r\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\r\n-----END PUBLIC KEY-----\r\n"
)

func TestSigningKeysAreAddedByForms(t *testing.T) {
	s := newPortalServer(t)
	app := s.Create(t)
	newest := func() keystore.Key { keys := s.MustHold(t, app.ID).Keys; return keys[len(keys)-1] }

	w := s.send("app/"+app.ID, form("do", "add-key", "kind", "sign", "label", "of the shop", "days", "30", "scopes", "", "public_key", ""))
	key := newest()
	body := w.Body.String()
	if w.Code != http.StatusCreated || key.Kind != keystore.Sign || key.Algorithm != keystore.HS256 || key.Expires.IsZero() || key.Label != "of the shop" {
		t.Fatalf("%d, %+v", w.Code, key)
	}
	if !strings.Contains(body, `id="new-sign">`+string(key.Verifier)+"<") || !strings.Contains(body, "kid</code> is <code>"+key.ID) || strings.Contains(body, "Only hashes") {
		t.Error("the page does not show the secret, or says that it is only hashed")
	}
	if w := s.send("app/"+app.ID, form("do", "rotate", "key", key.ID, "overlap", "1h")); w.Code != http.StatusCreated || newest().ID == key.ID {
		t.Errorf("rotated: %d", w.Code)
	}
	for _, public := range []string{publicJWK, " " + publicPEM} {
		w := s.send("app/"+app.ID, form("do", "add-key", "kind", "sign", "public_key", public))
		key := newest()
		if w.Code != http.StatusSeeOther || key.Algorithm != keystore.EdDSA {
			t.Fatalf("%s: %d, %+v", public, w.Code, key)
		}
		page := s.get("app/" + app.ID + "?done=add-key").Body.String()
		if !strings.Contains(page, "public key …"+key.Last4+"</code><br>kid <code>"+key.ID) || !strings.Contains(page, "sign EdDSA") {
			t.Error("the page does not show the public key")
		}
		s.send("app/"+app.ID, form("do", "revoke", "key", key.ID))
	}
}

func TestScopesAreThoseOfTheForm(t *testing.T) {
	s := newPortalServer(t)
	app := s.Create(t)
	for scopes, want := range map[string][]keystore.Scope{"": nil, "publish manage": {keystore.ScopePublish, keystore.ScopeManage}, "manage": {keystore.ScopeManage}} {
		w := s.send("app/"+app.ID, form("do", "add-key", "kind", "publish", "scopes", scopes))
		keys := s.MustHold(t, app.ID).Keys
		if got := keys[len(keys)-1].Scopes; w.Code != http.StatusCreated || !slices.Equal(got, want) {
			t.Errorf("%q: %d, %s", scopes, w.Code, got)
		}
		if want != nil && !strings.Contains(s.get("app/"+app.ID).Body.String(), `data-label="Allows">`+strings.ReplaceAll(scopes, " ", ", ")+"<") {
			t.Errorf("the page does not show %q", scopes)
		}
	}
}

func TestKeysOfNoUseAreRefused(t *testing.T) {
	s := newPortalServer(t)
	app := s.Create(t)
	const private = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----"
	for _, c := range []struct{ form, want string }{
		{form("do", "add-key", "kind", "sign", "public_key", private), "must not leave the backend"},
		{form("do", "add-key", "kind", "sign", "public_key", "null"), "public_key is null"},
		{form("do", "add-key", "kind", "sign", "public_key", "hello"), "is not PEM"},
		{form("do", "add-key", "kind", "sign", "public_key", hostile), "is not PEM"},
		{form("do", "add-key", "kind", "publish", "public_key", publicPEM), "public_key is for tokens"},
		{form("do", "add-key", "kind", "subscribe", "scopes", "manage"), "scopes are of publish keys"},
		{form("do", "add-key", "kind", "publish", "scopes", "all"), "scopes are &#34;publish&#34;"},
		{form("do", "add-key", "kind", "publish", "scopes", "manage publish manage"), "at most once"},
		{form("do", "add-key", "kind", "root"), "kind is &#34;publish&#34;"},
	} {
		w := s.send("app/"+app.ID, c.form)
		if body := w.Body.String(); w.Code != http.StatusBadRequest || !strings.Contains(body, c.want) || strings.Contains(body, "MC4CAQ") || strings.Contains(body, "<script>") {
			t.Errorf("%s: %d, without %q", c.form, w.Code, c.want)
		}
	}
	if n := len(s.MustHold(t, app.ID).Keys); n != 2 {
		t.Errorf("%d keys", n)
	}
}
