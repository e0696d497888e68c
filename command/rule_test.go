package command

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/internal/commandtest"
	"github.com/seed-c079cc48/caddy-realtime/internal/managetest"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

// serveAdmin serves an admin API over HTTP, and returns its address. before is called
// before each request, if it is not nil.
func serveAdmin(t *testing.T, s *managetest.Server, before func(*http.Request)) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if before != nil {
			before(r)
		}
		answer := s.Serve(r)
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// matches returns the matches of an app's own rules, in their order.
func matches(t *testing.T, s *managetest.Server, app string) string {
	t.Helper()
	var list []string
	for _, r := range s.MustHold(t, app).Rules {
		list = append(list, r.Match)
	}
	return strings.Join(list, " ")
}

func TestRuleIsSetWhereItHasAnEffect(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t)
	address := serveAdmin(t, s, nil)
	run := func(args ...string) commandtest.Result {
		t.Helper()
		r := commandtest.Run(t, nil, append(args, "--address", address)...)
		if r.Err != nil {
			t.Fatalf("%s: %+v", args, r)
		}
		return r
	}
	list := run("rule", "list", app.ID)
	commandtest.MustSay(t, list.Stdout, `^MATCH +ACCESS +PRESENCE +CLIENT EVENTS +HISTORY\nprivate-\* +token +no +no +-\npresence-\* +token +yes +no +-\n$`)
	commandtest.MustSay(t, list.Stderr, "These are the default rules.\nAll other channels are open.\n")

	for _, c := range []struct{ command, want, notes string }{
		{"set orders.* --access token", "private-* presence-* orders.*", "default rules, which are now its own. To return to them: caddy realtime rule reset " + app.ID},
		{"set * --access closed", "private-* presence-* orders.* *", "^$"},
		{"set news --access open", "private-* presence-* orders.* news *", "^$"},
		{"set orders.public.* --access open", "private-* presence-* orders.public.* orders.* news *", "^$"},
		{"set orders.public.1 --access closed", "private-* presence-* orders.public.1 orders.public.* orders.* news *", "^$"},
		{"set presence-* --access token --presence --client-events --history 7", "", ""}, // refused below
		{"set orders.* --access closed --presence", "private-* presence-* orders.public.1 orders.public.* orders.* news *", "^$"},
		{"set news --access token --first", "news private-* presence-* orders.public.1 orders.public.* orders.* *", "^$"},
		{"set p* --access open --first", "p* news private-* presence-* orders.public.1 orders.public.* orders.* *", `The rule for "private-\*" has no effect: the one for "p\*" is before it and matches all of its channels.\nThe rule for "presence-\*" has no effect`},
		{"remove p*", "news private-* presence-* orders.public.1 orders.public.* orders.* *", "^$"},
		{"remove *", "news private-* presence-* orders.public.1 orders.public.* orders.*", "All other channels are open."},
	} {
		args := append([]string{"rule"}, strings.Fields(c.command)...)
		args = append(args[:2], append([]string{app.ID}, args[2:]...)...)
		if c.want == "" {
			result := commandtest.Run(t, nil, append(args, "--address", address)...)
			commandtest.MustFail(t, result, c.command, "--history '100 2m', or --history 0 for no history")
			continue
		}
		result := run(args...)
		if got := matches(t, s, app.ID); got != c.want {
			t.Errorf("%s leaves %s, want %s", c.command, got, c.want)
		}
		commandtest.MustSay(t, result.Stderr, c.notes)
	}
	replaced := s.MustHold(t, app.ID).Rule("orders.42")
	if replaced.Access != keystore.AccessClosed || !replaced.Presence || replaced.ClientEvents {
		t.Errorf("%+v", replaced)
	}
	run("rule", "reset", app.ID)
	if rules := s.MustHold(t, app.ID).Rules; rules != nil {
		t.Errorf("after reset: %+v", rules)
	}
	run("rule", "remove", app.ID, "private-*")
	run("rule", "remove", app.ID, "presence-*")
	if rules := s.MustHold(t, app.ID).Rules; rules == nil || len(rules) != 0 {
		t.Errorf("after all are removed: %#v", rules)
	}
}

func TestRuleHasWhatItsFlagsSay(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t)
	address := serveAdmin(t, s, nil)
	for history, want := range map[string]string{"500 10m": `{"messages":500,"age":"10m"}`, "0": `{"messages":0}`, "": `null`} {
		result := commandtest.Run(t, nil, "rule", "set", app.ID, "room.*", "--access", "token", "--client-events", "--history", history, "--json", "--address", address)
		var shown manage.App
		if err := json.Unmarshal([]byte(result.Stdout), &shown); err != nil {
			t.Fatalf("%+v: %v", result, err)
		}
		got, err := json.Marshal(shown.Channels[len(shown.Channels)-1])
		if want := `{"match":"room.*","access":"token","presence":false,"client_events":true,"history":` + want + `}`; err != nil || string(got) != want {
			t.Errorf("%s is set, want %s", got, want)
		}
	}
}

// Two operators change the rules at the same time: both changes are made.
func TestChangeOfRulesLosesNoOther(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t)
	var others atomic.Int32
	var patches atomic.Int32
	address := serveAdmin(t, s, func(r *http.Request) {
		if r.Method != http.MethodPatch {
			return
		}
		patches.Add(1)
		if others.Add(-1) < 0 {
			return
		}
		_, err := s.Gateway.Registry.Update(app.ID, func(a *keystore.App) error {
			a.Rules = append(a.Rules, keystore.Rule{Match: fmt.Sprintf("other%d", others.Load()), Access: keystore.AccessToken})
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	if _, err := s.Gateway.Registry.Update(app.ID, func(a *keystore.App) error { a.Rules = []keystore.Rule{}; return nil }); err != nil {
		t.Fatal(err)
	}
	others.Store(2)
	result := commandtest.Run(t, nil, "rule", "set", app.ID, "mine", "--access", "open", "--address", address)
	if got := matches(t, s, app.ID); result.Err != nil || got != "other1 other0 mine" || patches.Load() != 3 {
		t.Errorf("%s after %d tries: %+v", got, patches.Load(), result)
	}

	patches.Store(0)
	others.Store(1000)
	commandtest.MustFail(t, commandtest.Run(t, nil, "rule", "remove", app.ID, "mine", "--address", address), "remove", "changed in the meantime.*Read it again")
	if patches.Load() != maxChanges {
		t.Errorf("%d tries", patches.Load())
	}
}

func TestTokenAloneIsOnStdout(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t)
	address := serveAdmin(t, s, nil)
	args := []string{"token", "create", app.ID, "--user", "42", "--channel", "private-user.42", "--channel", "presence-*", "--client-events", "room.1", "--info", `{"name":"Ann"}`, "--expires-in", "10m", "--address", address}
	commandtest.MustFail(t, commandtest.Run(t, nil, args...), "token create", "Add a secret: caddy realtime key add "+app.ID+" --kind sign")
	added := commandtest.Run(t, nil, "key", "add", app.ID, "--kind", "sign", "--address", address)
	commandtest.MustSay(t, added.Stdout, `^id +key_\w+\nsign key +sign_live_\w+\n$`)
	result := commandtest.Run(t, nil, args...)
	if result.Err != nil {
		t.Fatal(result)
	}
	commandtest.MustSay(t, result.Stdout, `^[\w-]+\.[\w-]+\.[\w-]+\n$`)
	commandtest.MustSay(t, result.Stderr, `^It is valid until \d{4}-.*, and signed with key_\w+\.\n$`)
	var answer manage.Token
	if err := json.Unmarshal([]byte(commandtest.Run(t, nil, append(args, "--json")...).Stdout), &answer); err != nil || answer.Token == "" {
		t.Errorf("%+v, %v", answer, err)
	}
}

func TestKeysAreAddedWithScopesAndPublicKeys(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t)
	address := serveAdmin(t, s, nil)
	run := func(args ...string) commandtest.Result {
		t.Helper()
		return commandtest.Run(t, nil, append(args, "--address", address)...)
	}
	file := func(name, content string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pem := file("key.pem", "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n")
	jwk := file("key.jwk", ` {"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"} `)
	for _, path := range []string{pem, jwk} {
		result := run("key", "add", app.ID, "--kind", "sign", "--label", "idp", "--public-key", path)
		if result.Err != nil {
			t.Fatal(result)
		}
		commandtest.MustSay(t, result.Stdout, `^id +key_\w+\nalgorithm +EdDSA\n$`)
		commandtest.MustSay(t, result.Stderr, "kid")
	}
	if r := run("key", "add", app.ID, "--kind", "publish", "--scope", "manage"); r.Err != nil {
		t.Fatal(r)
	}
	if r := run("key", "add", app.ID, "--kind", "publish", "--scope", "publish", "--scope", "manage"); r.Err != nil {
		t.Fatal(r)
	}
	listed := run("key", "list", app.ID)
	commandtest.MustSay(t, listed.Stdout, `^KEY +KIND +ENDS IN +SCOPES +ALGORITHM +CREATED .*`+
		`key_\w+ +publish +\w{4} +publish +- +20.*`+
		`key_\w+ +subscribe +\w{4} +- +- +20.*`+
		`key_\w+ +sign +\w{4} +- +EdDSA +20.* idp\n.*`+
		`key_\w+ +publish +\w{4} +manage +- +20.*`+
		`key_\w+ +publish +\w{4} +publish,manage +- +20`)

	before := len(s.MustHold(t, app.ID).Keys)
	for _, c := range []struct{ args, says string }{
		{"--kind sign --public-key " + file("private.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), "private.pem: public_key is a private key, which must not leave"},
		{"--kind sign --public-key " + file("private.jwk", `{"kty":"EC","d":"AAAA"}`), "private.jwk: public_key is a private key"},
		{"--kind sign --public-key " + file("null", `null`), "public_key is null"},
		{"--kind sign --public-key " + file("empty", ``), "public_key is not PEM"},
		{"--kind sign --public-key " + file("large", strings.Repeat("x", manage.MaxBody+1)), "large has more than 65536 bytes, which no public key has"},
		{"--kind sign --public-key " + filepath.Join(t.TempDir(), "none"), "--public-key.*no such file"},
		{"--kind publish --public-key " + pem, "--public-key is for --kind sign"},
		{"--kind subscribe --scope manage", "--scope is for --kind publish"},
		{"--kind publish --scope admin", `scopes are "publish" and "manage"`},
	} {
		commandtest.MustFail(t, run(append([]string{"key", "add", app.ID}, strings.Fields(c.args)...)...), c.args, c.says)
	}
	if n := len(s.MustHold(t, app.ID).Keys); n != before {
		t.Errorf("%d keys, then %d", before, n)
	}
}
