package redis

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap/zaptest"
)

// documentedUser returns the words of the line in the documents.
func documentedUser(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^ACL SETUSER realtime .*$`).FindString(string(text))
	if line == "" {
		t.Fatal("the documents have no line for a user")
	}
	return strings.Fields(line)
}

// asUser returns the server's URL with the documented user.
func (s *redisServer) asUser() string {
	return strings.Replace(s.url(), "//", "//realtime:password@", 1)
}

func TestDocumentedUserHasExactlyTheRightsThatAreNeeded(t *testing.T) {
	s := startRedis(t, "--appendonly", "yes")
	words := documentedUser(t)
	if err := s.do(words...).Error(); err != nil {
		t.Fatal(err)
	}
	a, b := newHolder(t, s.asUser()), newHolder(t, s.asUser())
	one, kept := a.open()
	other, _ := b.open()
	app := create(t, one, "shop").App
	knows(t, other, app.ID, "shop")
	if used, err := kept.LoadUsed(t.Context()); err != nil || len(used) != 0 {
		t.Error(used, err)
	}
	machines := []*machine{join(t, s.asUser(), "rt"), join(t, s.asUser(), "rt")}
	machines[0].subscribe(app.ID, "a")
	machines[1].publish(message(app.ID, "a", "one"))
	until(t, "it arrives", func() bool { return len(machines[0].delivered(app.ID)) == 1 })
	s.do("CLIENT", "KILL", "TYPE", "pubsub")
	machines[1].publish(message(app.ID, "a", "two"))
	until(t, "it arrives, too", func() bool { return len(machines[0].delivered(app.ID)) == 2 })
	until(t, "the missed ones were read", func() bool {
		return strings.Contains(s.cli("INFO", "commandstats"), "cmdstat_xrange")
	})
	machines[0].leave(app.ID, "a")
	machines[0].Forget(app.ID)
	if err := one.Delete(app.ID); err != nil {
		t.Fatal(err)
	}
	knows(t, other, app.ID, "")

	required := strings.Join(append(append([]string{}, brokerCommands...), keystoreCommands...), "\n")
	for _, word := range words {
		name, isCommand := strings.CutPrefix(word, "+")
		if !isCommand || strings.Contains(required, strings.ToUpper(name)) {
			continue
		}
		switch name { // connecting, scripts, notifications, advice
		case "hello", "auth", "client|setname", "select", "role", "cluster|slots", "eval", "publish", "subscribe", "unsubscribe", "info", "config|get":
		default:
			t.Errorf("the documents allow %s, which nothing needs", name)
		}
	}
	for command := range strings.FieldsSeq(required) {
		if regexp.MustCompile(`^[A-Z]{3,}$`).MatchString(command) && command != "KEY" && command != "CHANNEL" && !strings.Contains(strings.Join(words, " "), "+"+strings.ToLower(command)) {
			t.Errorf("the documents lack %s", command)
		}
	}
	if log := s.cli("ACL", "LOG"); strings.Contains(log, "realtime") {
		t.Errorf("the user was denied something:\n%s", log)
	}
}

func TestMissingRightIsNamedAtTheStart(t *testing.T) {
	for _, command := range append([]string{"EVAL"}, brokerCommands...) {
		name, _, _ := strings.Cut(command, " ")
		if name == "PING" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			s := startRedis(t)
			if err := s.do(documentedUser(t)...).Error(); err != nil {
				t.Fatal(err)
			}
			s.do("ACL", "SETUSER", "realtime", "-"+strings.ToLower(name))
			module := Broker{Server{URL: s.asUser()}}
			if err := module.Provision(caddy.Context{}); err != nil {
				t.Fatal(err)
			}
			opened, err := module.Open(zaptest.NewLogger(t))
			if err == nil {
				_ = opened.Close()
			}
			wantError(t, err, strings.ToLower(name), "ACL SETUSER")
		})
	}
}
