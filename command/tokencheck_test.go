package command

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/seed-c079cc48/caddy-realtime/internal/commandtest"
	"github.com/seed-c079cc48/caddy-realtime/internal/managetest"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

// newToken makes an app with a signing key, and a token of it with the command.
func newToken(t *testing.T, s *managetest.Server, address string, flags ...string) (app, token string) {
	t.Helper()
	app = s.Create(t).ID
	for _, args := range [][]string{{"key", "add", app, "--kind", "sign"}, append([]string{"token", "create", app}, flags...)} {
		result := commandtest.Run(t, nil, append(args, "--address", address)...)
		if result.Err != nil {
			t.Fatalf("%s: %+v", args, result)
		}
		token = result.Stdout
	}
	return app, strings.TrimSpace(token)
}

func TestCheckedTokenSaysWhatItAllows(t *testing.T) {
	s := managetest.New(t)
	address := serveAdmin(t, s, nil)
	app, token := newToken(t, s, address, "--user", "42", "--channel", "private-user.42", "--client-events", "room.*")
	for name, c := range map[string]struct {
		stdin io.Reader
		args  []string
	}{
		"an argument":  {nil, []string{token}},
		"stdin":        {strings.NewReader("\n " + token + "\r\n"), nil},
		"stdin, named": {strings.NewReader(token), []string{"-"}},
	} {
		result := commandtest.Run(t, c.stdin, append([]string{"token", "check", app, "--address", address}, c.args...)...)
		if result.Err != nil || strings.Contains(result.Said(), token) || strings.Contains(result.Said(), token[strings.LastIndexByte(token, '.'):]) {
			t.Errorf("%s: %+v", name, result)
		}
		commandtest.MustSay(t, result.Stdout, `^valid +yes\nkey +key_\w+\nuser +42\nexpires +\d{4}-.*\n`+
			`channels +private-user.42: subscribe\nchannels +room.\*: subscribe, send events\n`+
			`header +\{"alg":"HS256",.*\}\nclaims +\{"sub":"42",.*\}\n$`)
	}

	args := []string{"token", "check", app, token, "--address", address, "--channel"}
	allowed := commandtest.Run(t, nil, append(args, "private-user.42")...)
	if allowed.Err != nil {
		t.Errorf("%+v", allowed)
	}
	commandtest.MustSay(t, allowed.Stdout, `channel +private-user.42\nrule +private-\*: token\nallowed +yes\n$`)
	open := commandtest.Run(t, nil, append(args, "orders")...)
	commandtest.MustSay(t, open.Stdout, `rule +none, so the channel is open\nallowed +yes\n$`)
	forbidden := commandtest.Run(t, nil, append(args, "private-user.43")...)
	commandtest.MustSay(t, forbidden.Stdout, `^valid +yes\n.*allowed +no\ncode +channel_forbidden\n$`)
	commandtest.MustSay(t, forbidden.Failure(), `^the channel is refused: `)
	commandtest.MustFail(t, commandtest.Run(t, nil, append(args, "a!")...), "a!", "The channel's name has '!'")
	commandtest.MustFail(t, commandtest.Run(t, nil, append(args, "")...), "no name", "The channel's name is empty")
}

func TestRefusedTokenFailsWithWhatAClientGets(t *testing.T) {
	s := managetest.New(t)
	address := serveAdmin(t, s, nil)
	_, foreign := newToken(t, s, address, "--user", "7")
	app, token := newToken(t, s, address, "--user", "42")
	for name, c := range map[string]struct{ token, code, says, claims string }{
		"of another app":   {foreign, "invalid_token", "signature|kid|key", `\{"sub":"7",.*\}`},
		"changed":          {token[:strings.LastIndexByte(token, '.')] + ".AAAA", "invalid_token", "sign", `\{"sub":"42",.*\}`},
		"without claims":   {"eyJhbGciOiJIUzI1NiJ9.!.AAAA", "invalid_token", "", "-"},
		"hostile":          {"\u202e\x1b[2J.\n.\x07", "invalid_token", "", "-"},
		"nothing but dots": {"..", "invalid_token", "", "-"},
	} {
		for _, more := range []string{"", "--json"} {
			args := append([]string{"token", "check", app, "--address", address}, strings.Fields(more)...)
			result := commandtest.Run(t, strings.NewReader(c.token), args...)
			commandtest.MustSay(t, result.Failure(), "^the token is refused: .*(?i:"+c.says+")")
			commandtest.MustBeHarmless(t, result, []string{name})
			if strings.Contains(result.Said(), c.token) && c.token != ".." {
				t.Errorf("%s: it prints the token: %+v", name, result)
			}
			if more == "" {
				commandtest.MustSay(t, result.Stdout, `^valid +no\ncode +`+c.code+`\nheader .*\nclaims +`+c.claims+`\n$`)
				continue
			}
			var checked manage.CheckedToken
			if err := json.Unmarshal([]byte(result.Stdout), &checked); err != nil || checked.Valid || checked.Error.Code != c.code {
				t.Errorf("%s: %+v, %v", name, result, err)
			}
		}
	}
	if _, err := s.Gateway.Registry.RevokeUser(app, "42", s.MustHold(t, app).Created.AddDate(1, 0, 0)); err != nil {
		t.Fatal(err)
	}
	result := commandtest.Run(t, nil, "token", "check", app, token, "--address", address)
	commandtest.MustSay(t, result.Stdout, "^valid +no\ncode +token_revoked\n")
	if result.Err == nil {
		t.Error("a revoked token does not fail")
	}
}

func TestMissingTokenIsAskedFor(t *testing.T) {
	server := newRawServer(t, respondJSON(t, "200 OK", map[string]any{"valid": true}))
	for name, c := range map[string]struct {
		stdin io.Reader
		says  string
	}{
		"empty":       {strings.NewReader(""), "which token\\?"},
		"white space": {strings.NewReader(" \n\n"), "which token\\?"},
		"endless":     {endless{}, "more than 8192 bytes"},
		"a key":       {strings.NewReader("sign_live_abcdefghijklmnopqrstuvwxyz\n"), "a key, not a token"},
		"PEM":         {strings.NewReader("-----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----\n"), "not a token"},
		"broken":      {iotest.ErrReader(errors.New("pipe")), "stdin: pipe"},
	} {
		result := commandtest.Run(t, c.stdin, "token", "check", "app_1", "--address", server.address)
		commandtest.MustFail(t, result, name, c.says)
	}
	if n := server.requests(); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// An endless reader has always more.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'e'
	}
	return len(p), nil
}
