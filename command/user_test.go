package command

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/internal/commandtest"
	"github.com/seed-c079cc48/caddy-realtime/internal/managetest"
)

func TestAllPagesOfUsersAreListed(t *testing.T) {
	user := func(id string, sockets int) map[string]any { return map[string]any{"user": id, "sockets": sockets} }
	server := newRawServer(t, func(target string) []byte {
		if strings.Contains(target, "after=42") {
			return respondJSON(t, "200 OK", map[string]any{"users": []any{user("ann", 1)}, "next": nil})(target)
		}
		return respondJSON(t, "200 OK", map[string]any{"users": []any{user("-", 1), user("42", 2)}, "next": "42"})(target)
	})
	args := []string{"user", "list", "app_1", "--address", server.address}
	result := commandtest.Run(t, nil, args...)
	if want := "USER  SOCKETS\n-     1\n42    2\nann   1\n"; result.Err != nil || result.Stdout != want {
		t.Errorf("%+v, want %q", result, want)
	}
	result = commandtest.Run(t, nil, append(args, "--json")...)
	if want := `{"users":[{"user":"-","sockets":1},{"user":"42","sockets":2},{"user":"ann","sockets":1}]}` + "\n"; result.Err != nil || result.Stdout != want {
		t.Errorf("%+v, want %q", result, want)
	}
}

func TestListsOfNothingAreEmptyLists(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t).ID
	address := serveAdmin(t, s, nil)
	for command, want := range map[string][2]string{
		"user list " + app:                              {"USER  SOCKETS\n", `{"users":[]}`},
		"channel list " + app:                           {"CHANNEL  SUBSCRIBERS\n", `{"channels":[]}`},
		"channel list " + app + " --prefix orders.":     {"CHANNEL  SUBSCRIBERS\n", `{"channels":[]}`},
		"channel members " + app + " presence-room.1":   {"USER  SOCKETS  INFO\n", `{"channel":"presence-room.1","count":0,"members":[]}`},
		"channel show " + app + " orders.42":            {"channel      orders.42\nsubscribers  0\n", `{"channel":"orders.42","subscribers":0}`},
		"channel show " + app + " presence-room/1;a=b,": {"channel      presence-room/1;a=b,\nsubscribers  0\nmembers      0\n", `{"channel":"presence-room/1;a=b,","subscribers":0,"members":0}`},
		"user show " + app + " 42":                      {"user     42\nsockets  0\n", `{"user":"42","sockets":0,"connections":[],"next":null,"revoked":null}`},
	} {
		args := append(strings.Fields(command), "--address", address)
		text, raw := commandtest.Run(t, nil, args...), commandtest.Run(t, nil, append(args, "--json")...)
		if text.Err != nil || text.Stdout != want[0] || raw.Err != nil || raw.Stdout != want[1]+"\n" {
			t.Errorf("%s: %+v and %+v, want %q", command, text, raw, want)
		}
	}
}

// Each of these is one part of a path, however it looks.
func TestUserOfAnyNameIsReached(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t).ID
	address := serveAdmin(t, s, nil)
	for _, user := range []string{"42", ".", "..", "a/b", "a//b", "../..", "%2e%2e", "a?b#c", "a b", "Ünï😀", "connections", "a/revoke", "-"} {
		args := []string{"user", "show", "--address", address, "--json", "--", app, user}
		result := commandtest.Run(t, nil, args...)
		var shown struct{ User string }
		if err := json.Unmarshal([]byte(result.Stdout), &shown); err != nil || result.Err != nil || shown.User != user {
			t.Errorf("%q: %+v", user, result)
		}
		result = commandtest.Run(t, nil, "user", "disconnect", "--address", address, "--", app, user)
		if result.Err != nil || result.Stdout != "" || result.Stderr != "0 sockets are disconnected. The user's tokens stay valid.\n" {
			t.Errorf("%q: %+v", user, result)
		}
	}
}

func TestRevokedUserIsShownAsSuch(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t).ID
	address := serveAdmin(t, s, nil)
	revoked := commandtest.Run(t, nil, "user", "revoke", app, "42", "--address", address)
	if revoked.Err != nil || revoked.Stdout != "" {
		t.Fatalf("%+v", revoked)
	}
	commandtest.MustSay(t, revoked.Stderr, "^Revoked: .* 0 sockets are disconnected.\n$")
	at, ok := s.MustHold(t, app).RevokedUsers["42"]
	if !ok {
		t.Fatal("the user is not revoked")
	}
	shown := commandtest.Run(t, nil, "user", "show", app, "42", "--address", address)
	commandtest.MustSay(t, shown.Stdout, `^user +42\nsockets +0\ntokens revoked +issued until `+at.Format("2006-01-02 15:04:05")+`\n$`)
}

func TestUsersAndChannelsThatCannotBeAreRefusedWithTheReason(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t).ID
	address := serveAdmin(t, s, nil)
	for command, says := range map[string]string{
		"user list app_none":                  "No app .*app_none",
		"user show app_none 42":               "No app .*app_none",
		"user revoke app_none 42":             "No app .*app_none",
		"user revoke " + app + " a\u202eb":    "<user> has .*printable",
		"user disconnect " + app + " ":        "<user> is .*printable",
		"channel list app_none":               "No app .*app_none",
		"channel list " + app + " --prefix !": "no channel name can begin with that",
		"channel show " + app + " a!b":        "The channel's name has '!'",
		"channel show " + app + " ":           "The channel's name is empty",
		"channel members " + app + " ":        "The channel's name is empty",
		"channel members " + app + " orders":  "no presence.*caddy realtime rule set",
	} {
		result := commandtest.Run(t, nil, append(strings.Split(command, " "), "--address", address)...)
		commandtest.MustFail(t, result, command, says)
	}
	if s.MustHold(t, app).RevokedUsers != nil {
		t.Error("a user is revoked")
	}
}
