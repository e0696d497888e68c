package portal

import (
	"crypto/ed25519"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// TestTokenSnippetsAreThoseOfTheDocuments is why tests/token-snippets.test.mjs runs
// each only once.
func TestTokenSnippetsAreThoseOfTheDocuments(t *testing.T) {
	page, err := os.ReadFile("../docs/tokens.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range tokenSnippets() {
		text := strings.TrimPrefix(s.Text, "// routes/channels.php, with the classes of examples/laravel\n")
		if !strings.Contains(string(page), "\n"+text+"\n```\n") {
			t.Errorf("docs/tokens.md lacks %s:\n%s", s.ID, text)
		}
	}
}

func TestPortalShowsHowToSignTokensIfTheAppHasASecretForIt(t *testing.T) {
	s := newPortalServer(t)
	app := s.Create(t)
	shown := func() bool {
		t.Helper()
		page := s.visit(httptest.NewRequest(http.MethodGet, "/realtime/app/"+app.ID, http.NoBody)).Body.String()
		for _, want := range []string{`id="snippet-token-php"`, "hash_hmac(", "\nREALTIME_SIGNING_KEY=<"} {
			if strings.Contains(page, want) != strings.Contains(page, `id="snippet-token-node"`) {
				t.Errorf("%q is not shown with the other snippets", want)
			}
		}
		return strings.Contains(page, `id="snippet-token-node"`)
	}
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Gateway.Registry.AddKey(app.ID, keystore.KeySpec{Kind: keystore.Sign, Public: public}); err != nil {
		t.Fatal(err)
	}
	if shown() {
		t.Error("shown to an app whose tokens are signed with a key of its own")
	}
	issued, err := s.Gateway.Registry.AddKey(app.ID, keystore.KeySpec{Kind: keystore.Sign})
	if err != nil {
		t.Fatal(err)
	}
	if !shown() {
		t.Error("not shown")
	}
	if _, err := s.Gateway.Registry.RevokeKey(app.ID, issued.Key.ID); err != nil {
		t.Fatal(err)
	}
	if shown() {
		t.Error("shown after the key was revoked")
	}
}
