package command

import (
	"fmt"
	"maps"
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/internal/commandtest"
)

const hostileText = "\u001b]0;owned\u0007\u009b2J\u202e\u007f\r\nforged\tx"

// hostileApp is an answer of the admin endpoint in which every text is hostile,
// for any command that reads it.
func hostileApp() map[string]any {
	key := map[string]any{
		"id": hostileText, "name": hostileText, "kind": hostileText, "label": hostileText, "last4": hostileText,
		"key": hostileText, "scopes": []string{hostileText}, "algorithm": hostileText, "created": "2030-01-01T00:00:00Z",
		"url": hostileText, "events": []string{hostileText}, "prefix": hostileText, "problem": hostileText, "secret": hostileText,
		"state": map[string]any{"last": []any{map[string]any{"id": hostileText, "error": hostileText}}},
	}
	app := map[string]any{
		"publish_key": hostileText, "subscribe_key": hostileText, "allowed_origins": []string{hostileText},
		"rate_limit": map[string]any{"publishes": 1, "window": hostileText}, "keys": []any{key}, "webhooks": []any{key},
		"channels": []any{map[string]any{"match": hostileText, "access": hostileText, "history": map[string]any{"messages": 1, "age": hostileText}}},
		"token":    hostileText, "expires": "2030-01-01T00:00:00Z", "user": hostileText,
		"connections": []any{map[string]any{"id": hostileText, "user": hostileText, "client_ip": hostileText, "transport": hostileText, "channels": []string{hostileText}}},
		"members":     []any{map[string]any{"id": hostileText, "info": hostileText}},
		"machines":    []any{map[string]any{"id": hostileText, "address": hostileText, "version": hostileText}},
	}
	maps.Copy(app, key)
	everything := map[string]any{"apps": []any{app}, "next": nil}
	maps.Copy(everything, app)
	return everything
}

const hostileRaw = "{\"id\":\"\u009b2J\u202e\u007f\",\"apps\":[]}"

var adminCommands = []string{
	"app create x", "app list", "app show x", "app delete x",
	"key add x --kind publish", "key list x", "key rotate x y", "key revoke x y",
	"key add x --kind sign", "rule list x", "rule set x y --access open", "rule remove x y", "rule reset x", "token create x --user 42",
	"webhook add x https://a.example", "webhook list x", "webhook show x y", "webhook set x y --paused", "webhook rotate x y", "webhook remove x y", "webhook test x y --wait 0s",
	"token check x a.b.c", "user list x", "user show x y", "user disconnect x y", "user revoke x y",
	"channel list x", "channel show x y", "channel members x y", "machines",
}

func TestHostileAdminEndpointWritesNothingThatATerminalActsOn(t *testing.T) {
	everything := respondJSON(t, "200 OK", hostileApp())
	redirect := answerWith("307 Temporary Redirect", "", "Location: /away%1b")
	for name, c := range map[string]struct {
		answer func(string) []byte
		fails  string // what the error says; "" if the answer can be accepted
	}{
		"JSON":                             {answer: everything},
		"JSON with characters as they are": {answer: respondJSON(t, "200 OK", hostileRaw)},
		"no JSON":                          {answer: respondJSON(t, "200 OK", hostileText)},
		"an error":                         {respondJSON(t, "400 Bad Request", map[string]any{"error": map[string]any{"code": "x", "message": hostileText}}), "owned"},
		"an error of Caddy's":              {respondJSON(t, "500 No", map[string]any{"error": hostileText}), "owned"},
		"an error that is no JSON":         {respondJSON(t, "502 No", hostileText), "owned"},
		"a redirect": {func(target string) []byte {
			if strings.HasPrefix(target, "/away") {
				return everything(target)
			}
			return redirect(target)
		}, "redirect to "},
	} {
		t.Run(name, func(t *testing.T) {
			server := newRawServer(t, c.answer)
			_, port, err := net.SplitHostPort(server.address)
			if err != nil {
				t.Fatal(err)
			}
			for _, command := range append([]string{"portal --port " + port}, adminCommands...) {
				for _, more := range []string{"", " --json"} {
					args := strings.Fields(command + more + " --address " + server.address)
					before := server.requests()
					result := commandtest.Run(t, nil, args...)
					commandtest.MustBeHarmless(t, result, args)
					if server.requests() == before {
						t.Errorf("%s: it has not asked", args)
					}
					if c.fails == "" {
						continue
					}
					if result.Err == nil || result.Stdout != "" || !strings.Contains(result.Failure(), c.fails) {
						t.Errorf("%s: got %+v, want %q", args, result, c.fails)
					}
					if name == "a redirect" && !strings.Contains(result.Failure(), "check --address") {
						t.Errorf("%s: got %v, without the cure", args, result.Err)
					}
				}
			}
		})
	}
}

func TestHostileSiteWritesNothingThatATerminalActsOn(t *testing.T) {
	for name, answer := range map[string]func(string) []byte{
		"a receipt":                             respondJSON(t, "200 OK", map[string]any{"id": hostileText, "subscribers": 1}),
		"a receipt with characters as they are": respondJSON(t, "200 OK", hostileRaw),
		"a refusal":                             respondJSON(t, "400 Bad Request", map[string]any{"error": map[string]any{"code": hostileText, "message": hostileText}}),
		"a page":                                answerWith("200 \x9b2J\x85", hostileText, "Content-Type: text/\x9b2J"),
		"a page in UTF-8":                       answerWith("200 \u009b2J\u0085", hostileText, "Content-Type: text/\u009b2J"),
		"a redirect":                            answerWith("302 \x9b2J", "", "Location: //\x9b2J/"),
	} {
		t.Run(name, func(t *testing.T) {
			server := newRawServer(t, answer)
			commandtest.SetSite(t, "")
			for i, command := range []string{"publish a b", "publish a b --json", "listen a", "listen a --json"} {
				args := strings.Fields(command + " --origin " + server.origin)
				result := commandtest.Run(t, nil, args...)
				commandtest.MustBeHarmless(t, result, args)
				if server.requests() != i+1 {
					t.Errorf("%s: %d requests", args, server.requests())
				}
			}
		})
	}
}

func TestListWithoutEndEndsAppList(t *testing.T) {
	pages := func(t *testing.T, next ...string) *rawServer {
		t.Helper()
		n := 0
		return newRawServer(t, func(string) []byte { // the command requests one after another
			n++
			return respondJSON(t, "200 OK", map[string]any{"apps": []any{}, "next": next[n%len(next)]})("")
		})
	}
	for name, c := range map[string]struct {
		next     []string
		says     string
		requests int
	}{
		"the same page again":  {[]string{"a"}, `the page after "a" is the same page again.*check --address`, 2},
		"the first page again": {[]string{""}, `the page after "" is the same page again.*check --address`, 1},
		"two pages in turn":    {[]string{"a", "b"}, `a list that has not ended after 7 pages and \d+ bytes.*check --address`, 7},
	} {
		t.Run(name, func(t *testing.T) {
			server := pages(t, c.next...)
			out := new(strings.Builder)
			err := listApps(&adminClient{addr: server.address, out: out, maxPages: 7}, nil)
			if err == nil || !regexp.MustCompile(c.says).MatchString(err.Error()) || out.String() != "" {
				t.Errorf("got %v and %q, want %s", err, out, c.says)
			}
			if server.requests() != c.requests {
				t.Errorf("%d requests, want %d", server.requests(), c.requests)
			}
		})
	}
}

func TestAnswerThatIsNoneOfTheAdminEndpointsFailsWithTheCure(t *testing.T) {
	other := "JSON that this command does not understand.*use --address"
	for name, c := range map[string]struct {
		answer func(string) []byte
		says   string
	}{
		"JSON of another shape": {respondJSON(t, "200 OK", map[string]any{"apps": []any{[]any{}}, "keys": []any{[]any{}}, "users": 1, "valid": 1, "id": []any{}, "publish_key": 1}), other},
		"no object":             {respondJSON(t, "200 OK", []any{}), other},
		"too deep":              {respondJSON(t, "200 OK", strings.Repeat("[", 20_000)), "does not answer with JSON.*use --address"},
		"no JSON":               {respondJSON(t, "200 OK", "<html>"), "does not answer with JSON.*use --address"},
		"half a body":           {halfABody("{"), "broke off.*may have succeeded.*check --address"},
	} {
		t.Run(name, func(t *testing.T) {
			server := newRawServer(t, c.answer)
			for _, command := range []string{"app list", "app show x", "app create x", "key list x", "key add x --kind publish", "key rotate x y", "user list x", "token check x a.b.c"} {
				result := commandtest.Run(t, nil, strings.Fields(command+" --address "+server.address)...)
				commandtest.MustFail(t, result, command, c.says)
			}
		})
	}
}

func TestRedirectGetsNeitherKeyNorEvent(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			other := newRawServer(t, respondJSON(t, "200 OK", map[string]any{"id": "taken"}))
			server := newRawServer(t, answerWith(fmt.Sprint(status)+" Elsewhere", "", "Location: "+other.origin+"/elsewhere"))
			commandtest.SetSite(t, server.origin)
			for _, command := range []string{"publish a b", "listen a"} {
				result := commandtest.Run(t, nil, strings.Fields(command)...)
				commandtest.MustFail(t, result, command, fmt.Sprintf(`%d .*a redirect to %[2]s/elsewhere.*not followed.*--origin %[2]s --path /elsewhere`,
					status, regexp.QuoteMeta(other.origin)))
			}
			if server.requests() != 2 || other.requests() != 0 {
				t.Errorf("%d requests, and %d where the redirect leads", server.requests(), other.requests())
			}
		})
	}
}

func TestPublishSucceedsOnlyWithAReceipt(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(string) []byte
		says   string
	}{
		"an empty body":         {respondJSON(t, "200 OK", ""), "200 OK with an empty body"},
		"204":                   {func(string) []byte { return []byte("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n") }, "204 No Content with an empty body"},
		"a page":                {answerWith("200 OK", "<html>", "Content-Type: text/html"), "a body of type text/html"},
		"JSON without an id":    {respondJSON(t, "200 OK", map[string]any{"ok": true}), "JSON without an id"},
		"JSON with an empty id": {respondJSON(t, "200 OK", map[string]any{"id": ""}), "JSON without an id"},
		"null":                  {respondJSON(t, "200 OK", "null"), "JSON without an id"},
		"an array":              {respondJSON(t, "200 OK", []any{map[string]any{"id": "x"}}), "JSON without an id"},
		"an id with an error's status": {
			respondJSON(t, "500 Internal Server Error", map[string]any{"id": "x"}), "500 Internal Server Error",
		},
		"an id with a redirect without address": {
			respondJSON(t, "304 Not Modified", map[string]any{"id": "x"}), "304 Not Modified, a redirect without",
		},
		"an error without words": {respondJSON(t, "400 Bad Request", map[string]any{"error": map[string]any{"code": "x"}}), "400 Bad Request"},
		"half a body":            {halfABody(`{"id":"x"}`), "cannot reach"},
	} {
		t.Run(name, func(t *testing.T) {
			commandtest.SetSite(t, newRawServer(t, c.answer).origin)
			for _, command := range []string{"publish a b", "publish a b --json"} {
				result := commandtest.Run(t, nil, strings.Fields(command)...)
				commandtest.MustFail(t, result, command, c.says)
				commandtest.MustFail(t, result, command, "--origin")
			}
		})
	}
}

func TestBothNamesOfTheOriginNameTheSiteAndMustNotDiffer(t *testing.T) {
	server := newRawServer(t, respondJSON(t, "200 OK", map[string]any{"id": "receipt"}))
	nowhere := commandtest.ClosedOrigin(t)
	for _, c := range []struct{ url, socketURL, more string }{
		{server.origin, "", ""},
		{"", server.origin, ""},
		{server.origin, server.origin + "/", ""},
		{nowhere, "http://other", " --origin " + server.origin},
	} {
		commandtest.SetSite(t, c.url)
		t.Setenv("REALTIME_SOCKET_URL", c.socketURL)
		result := commandtest.Run(t, nil, strings.Fields("publish a b"+c.more)...)
		if result.Err != nil || !strings.HasPrefix(result.Stdout, "receipt\t") {
			t.Errorf("%+v: got %+v", c, result)
		}
	}
	if n := server.requests(); n != 4 {
		t.Errorf("%d requests, want 4", n)
	}
	for _, command := range []string{"publish a b", "listen a"} {
		commandtest.SetSite(t, server.origin)
		t.Setenv("REALTIME_SOCKET_URL", nowhere)
		commandtest.MustFail(t, commandtest.Run(t, nil, strings.Fields(command)...), command, "REALTIME_URL is .* and REALTIME_SOCKET_URL is .*: unset one")
		commandtest.SetSite(t, "")
		commandtest.MustFail(t, commandtest.Run(t, nil, strings.Fields(command)...), command, "REALTIME_URL or REALTIME_SOCKET_URL")
	}
}
