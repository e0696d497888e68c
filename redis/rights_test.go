package redis

import (
	"errors"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"go.uber.org/zap/zaptest"
)

// documentedUser returns the words of the line in the documents that come after SETUSER.
// further are appended.
func documentedUser(t testing.TB, further ...string) []string {
	t.Helper()
	text, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^ACL SETUSER realtime .*$`).FindString(string(text))
	if line == "" {
		t.Fatal("the documents have no line for a user")
	}
	return append(strings.Fields(line)[2:], further...)
}

// documentedCommands returns the commands in the documents' line.
func documentedCommands(t testing.TB) map[string]bool {
	t.Helper()
	all := make(map[string]bool)
	for _, word := range documentedUser(t) {
		if command, ok := strings.CutPrefix(word, "+"); ok {
			if all[command] {
				t.Errorf("%s is documented twice", command)
			}
			all[command] = true
		}
	}
	return all
}

// setUser gives the user of url exactly the rights in the documents, and then changes
// them.
func (s *redisServer) setUser(changes ...string) {
	s.t.Helper()
	if err := s.do(append([]string{"ACL", "SETUSER"}, documentedUser(s.t, changes...)...)...).Error(); err != nil {
		s.t.Fatal(err)
	}
}

// ran returns the commands that the server was sent.
func (s *redisServer) ran() map[string]bool {
	s.t.Helper()
	all := make(map[string]bool)
	for _, match := range regexp.MustCompile(`(?m)^cmdstat_([^:]+):`).FindAllStringSubmatch(s.cli("INFO", "commandstats"), -1) {
		all[match[1]] = true
	}
	return all
}

// All other tests run as this user, too. Here it is seen that it has no right too many.
func TestDocumentedUserHasExactlyTheRightsThatAreNeeded(t *testing.T) {
	changeScript(t, "300000, 100000", "300000, 2") // idempotency keys
	s := startRedis(t, "--appendonly", "yes")
	s.setUser()
	useKeystore(t, s, s.url())
	useBroker(t, s, s.url()+"/1")
	usePresence(t, s.url()+"/2")
	useWebhooks(t, s.url()+"/3")

	ran, documented := s.ran(), documentedCommands(t)
	for _, own := range []string{"acl|setuser", "acl|log", "client|kill", "pubsub|numsub"} {
		delete(ran, own)
	}
	ran["role"] = true           // of Sentinel, whose test is another one
	ran["cluster|shards"] = true // of Redis 8
	ran["asking"] = true         // of Cluster, see TestSlotThatMovesLosesNoSession
	if !maps.Equal(ran, documented) {
		lacks, unused := maps.Clone(ran), maps.Clone(documented)
		maps.DeleteFunc(lacks, func(command string, _ bool) bool { return documented[command] })
		maps.DeleteFunc(unused, func(command string, _ bool) bool { return ran[command] })
		t.Errorf("the documents lack %v; they have %v, which nothing here has used", slices.Sorted(maps.Keys(lacks)), slices.Sorted(maps.Keys(unused)))
	}
	if log := s.cli("ACL", "LOG"); strings.Contains(log, "realtime") {
		t.Errorf("the user was denied something:\n%s", log)
	}
}

// useKeystore does everything that a keystore does.
func useKeystore(t *testing.T, s *redisServer, url string) {
	t.Helper()
	one, kept := newHolder(t, url).open()
	other, _ := newHolder(t, url).open()
	s.subscribed(2)
	made := create(t, one, "shop")
	id := made.App.ID
	knows(t, other, id, "shop")
	if err := kept.PutUsed(t.Context(), id, map[string]time.Time{made.App.Keys[0].ID: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if used, err := kept.LoadUsed(t.Context()); err != nil || len(used) != 1 {
		t.Error(used, err)
	}
	if err := one.Delete(id); err != nil {
		t.Fatal(err)
	}
	knows(t, other, id, "")
	s.do("CLIENT", "KILL", "TYPE", "pubsub")
	s.subscribed(2)
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	s.subscribed(1)
}

// useBroker does everything that a broker does.
func useBroker(t *testing.T, s *redisServer, url string) {
	t.Helper()
	all := ofNodes(t, url, shortLease, "a", "b", "c")
	if _, err := ask(all[0], all[1], "who", "?"); err != nil {
		t.Error(err)
	}
	all[2].die()
	know(t, all[0], all[1])

	one, other := all[0].machine, all[1].machine
	one.subscribe("app", "a")
	admit := func(key string, limit int, window time.Duration) error {
		terms := hub.Terms{Limit: limit, Window: window, Key: hub.IdempotencyKey{Value: key}}
		_, err := other.Admit(t.Context(), []*hub.Message{message("app", "a", "e")}, terms)
		return err
	}
	// More keys than are remembered, and more publishes than are accepted, also in a
	// window that has become longer or shorter.
	for _, key := range []string{"1", "2", "3", "3"} {
		if err := admit(key, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	for {
		err := admit("", 2, time.Hour)
		if errors.Is(err, hub.ErrRateLimited) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := admit("", 2, 2*time.Hour); !errors.Is(err, hub.ErrRateLimited) {
		t.Error(err)
	}
	until(t, "the shorter window is over", func() bool { return admit("", 2, 100*time.Millisecond) == nil })
	// Events of the same time share an entry of the log, which is changed.
	until(t, "two events share an entry", func() bool {
		return admit("", 5000, time.Hour) == nil && s.ran()["lset"]
	})
	s.do("CLIENT", "KILL", "TYPE", "pubsub")
	other.publish(message("app", "a", "last"))
	until(t, "it arrives", func() bool {
		got := one.delivered("app")
		return len(got) > 0 && got[len(got)-1].Event == "last"
	})
	one.leave("app", "a")
	one.Forget("app")
	until(t, "the app is forgotten", func() bool { return s.ran()["unlink"] })
}

// usePresence does what a broker does for presence.
func usePresence(t *testing.T, url string) {
	t.Helper()
	here, there := newVenue(t, url, "a", shortLease), newVenue(t, url, "b", shortLease)
	know(t, here.node, there.node)
	watcher := here.enter("c", "")
	there.enter("c", "ann")
	bob := there.enter("c", "bob")
	watcher.expect("ann bob")
	bob.leave()
	watcher.expect("ann")
	there.close()
	watcher.expect("")
	until(t, "what the machine has said that has left is forgotten", func() bool {
		all, err := here.sayers(t.Context(), here.lane("app").name)
		return err == nil && !slices.Contains(all, there.id)
	})
	here.close()
}

// useWebhooks does what a broker does for webhooks.
func useWebhooks(t *testing.T, url string) {
	t.Helper()
	r := newReceiver(t)
	tellers := []*teller{newTeller(t, url, "c", hookTo(r.URL)), newTeller(t, url, "d", hookTo(r.URL))}
	sender := senderOf(t, tellers...)
	for _, m := range tellers {
		m.say(0, 10)
	}
	r.complete(10, tellers...)
	sender.use() // the record of a hook that is removed
	for _, m := range tellers {
		m.quit()
	}
}

func TestMissingRightIsNamedAtTheStart(t *testing.T) {
	t.Parallel()
	open := map[string]func(t *testing.T, url string) error{
		"broker": func(t *testing.T, url string) error {
			t.Helper()
			module := Broker{Server{URL: url}}
			if err := module.Provision(caddy.Context{}); err != nil {
				t.Fatal(err)
			}
			opened, err := module.Open(zaptest.NewLogger(t))
			if err == nil {
				_ = opened.Close()
			}
			return err
		},
		"keystore": func(t *testing.T, url string) error {
			t.Helper()
			_, _, err := newHolder(t, url).tryOpen()
			return err
		},
	}
	for module, commands := range map[string][]string{"broker": brokerCommands, "keystore": keystoreCommands} {
		s := startRedis(t)
		for _, command := range append([]string{"EVAL"}, commands...) {
			name, _, _ := strings.Cut(command, " ")
			s.setUser("-" + strings.ToLower(name))
			err := open[module](t, s.url())
			wantError(t, err, strings.ToLower(name), "ACL SETUSER")
			if unreachable(err) {
				t.Errorf("without %s, a gateway would start from its copy", name)
			}
		}
	}
}

// Without it, the client would be sent to and fro between two servers.
func TestRightForSlotsThatMoveIsNeededInAClusterAlone(t *testing.T) {
	servers := startCluster(t)
	for _, s := range servers {
		s.cli(append([]string{"ACL", "SETUSER"}, documentedUser(t, "-asking")...)...)
	}
	wantError(t, tryBroker(t, servers[0].url()), "may not run ASKING", "+asking")
	alone := startRedis(t)
	alone.setUser("-asking")
	if err := tryBroker(t, alone.url()); err != nil {
		t.Error(err)
	}
}

// A right that is withdrawn later is missed by a script, or by a command.
func TestRightThatIsWithdrawnIsNamedWithTheCure(t *testing.T) {
	s := startRedis(t)
	m := s.join("")
	for _, command := range []string{"spublish", "evalsha", "hset"} {
		s.setUser("-" + command)
		err := m.Publish(t.Context(), []*hub.Message{message("app", "a", "e")})
		wantError(t, err, "docs/configuration.md", "ACL SETUSER")
		s.setUser()
	}
	m.publish(message("app", "a", "e"))
}
