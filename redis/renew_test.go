package redis

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/seed-c079cc48/caddy-realtime/hub"
)

// renewed is what a reload with another URL does to what is open. It returns the errors
// of keystore and broker.
func renewed(t testing.TB, m *machine, s *store, url string) (keystore, broker error) {
	t.Helper()
	k, b := &Keystore{Server: Server{URL: url}, Copy: s.copy.Load().path}, &Broker{Server{URL: url}}
	if err := k.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	if err := b.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	return k.Renew(s), b.Renew(m.broker)
}

// starts have a URL each, whose user can be changed on all servers.
var starts = map[string]func(testing.TB) (url string, servers []*redisServer){
	"standalone": func(t testing.TB) (string, []*redisServer) {
		t.Helper()
		s := startRedis(t)
		return s.url(), []*redisServer{s}
	},
	"Sentinel": func(t testing.TB) (string, []*redisServer) {
		t.Helper()
		w := startSentinel(t)
		return w.url, []*redisServer{w.primary, w.replica}
	},
	"Unix socket": func(t testing.TB) (string, []*redisServer) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "redis.sock")
		s := startRedis(t, "--unixsocket", path)
		until(t, "the socket is there", func() bool { _, err := os.Stat(path); return err == nil })
		return "unix://realtime:password@" + path, []*redisServer{s}
	},
}

func TestReloadWithAnotherPasswordIsUsedFromThenOn(t *testing.T) {
	t.Parallel()
	for name, start := range starts {
		t.Run(name, func(t *testing.T) {
			url, servers := start(t)
			all := func(words ...string) {
				for _, s := range servers {
					if err := s.do(words...).Error(); err != nil {
						t.Fatal(err)
					}
				}
			}
			m := join(t, url, "")
			registry, s := newHolder(t, url).open()
			m.subscribe("app", "a")
			m.publish(message("app", "a", "before"))

			all("ACL", "SETUSER", "realtime", ">new")
			next := strings.Replace(url, ":password@", ":new@", 1)
			if k, b := renewed(t, m, s, next); k != nil || b != nil {
				t.Fatal(k, b)
			}
			all("ACL", "SETUSER", "realtime", "<password")
			k, b := renewed(t, m, s, url)
			wantError(t, k, "it refuses the user or the password")
			wantError(t, b, "it refuses the user or the password")
			all("CLIENT", "KILL", "USER", "realtime")
			var l ledger
			m.publishUntilAccepted(&l, "app", "a", "after")
			until(t, "it arrives", func() bool {
				got := m.delivered("app")
				return got[len(got)-1].Event == "after"
			})
			until(t, "apps can be changed", func() bool { _, err := registry.Create("shop"); return err == nil })
		})
	}
}

func TestFormerUserCanLoseItsRightsAfterAReload(t *testing.T) {
	t.Parallel()
	for name, start := range starts {
		for _, loses := range []string{"reset", "-@all"} { // what it listens to goes on with the second
			t.Run(name+" "+loses, func(t *testing.T) {
				t.Parallel()
				url, servers := start(t)
				set := func(words ...string) {
					for _, s := range servers {
						if err := s.do(append([]string{"ACL", "SETUSER"}, words...)...).Error(); err != nil {
							t.Fatal(err)
						}
					}
				}
				m := join(t, url, "")
				registry, s := newHolder(t, url).open()
				m.subscribe("app", "a")
				for range 50 {
					m.publish(message("app", "a", "before"))
				}

				set(append([]string{"two"}, documentedUser(t, ">password")[1:]...)...)
				if k, b := renewed(t, m, s, strings.Replace(url, "realtime:", "two:", 1)); k != nil || b != nil {
					t.Fatal(k, b)
				}
				set("realtime", loses)
				var l ledger
				m.publishUntilAccepted(&l, "app", "a", "after")
				until(t, "nothing is refused", func() bool {
					for range 50 {
						if m.Publish(t.Context(), []*hub.Message{message("app", "a", "after")}) != nil {
							return false
						}
					}
					return true
				})
				m.subscribe("app", "b")
				m.publishUntilAccepted(&l, "app", "b", "after")
				l.expect(m, "app", "a", "b")
				until(t, "apps can be changed", func() bool { _, err := registry.Create("shop"); return err == nil })
			})
		}
	}
}

func TestUserThatLosesARightKeepsItsConnections(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	m := join(t, s.url(), "")
	m.publish(message("app", "a", "before"))
	ids := func() (all []string) {
		for _, client := range regexp.MustCompile(`(?m)^id=(\d+) .* name=caddy-realtime `).FindAllStringSubmatch(s.cli("CLIENT", "LIST"), -1) {
			all = append(all, client[1])
		}
		return all
	}
	before := ids()
	s.setUser("-xadd")
	for range 20 {
		wantError(t, m.Publish(t.Context(), []*hub.Message{message("app", "a", "denied")}), "the user lacks a right")
	}
	after := ids()
	for _, id := range before {
		if !slices.Contains(after, id) {
			t.Errorf("the connection %s was closed: %v before, and %v after", id, before, after)
		}
	}
	if len(before) == 0 {
		t.Error("there was no connection")
	}
}

func TestReloadWithAUserThatLacksARightIsRefused(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	m := join(t, s.url(), "")
	_, kept := newHolder(t, s.url()).open()
	m.subscribe("app", "a")
	for name, c := range map[string]struct {
		rights []string
		lacks  string
	}{
		"commands":          {documentedUser(t, "-time")[1:], "may not run TIME"},
		"EVAL":              {documentedUser(t, "-eval")[1:], "the user lacks a right"},
		"keys and channels": {documentedUser(t, "resetkeys", "~other:*", "resetchannels", "&other:*")[1:], "begin with rt"},
	} {
		if err := s.do(append([]string{"ACL", "SETUSER", "poor", "reset"}, c.rights...)...).Error(); err != nil {
			t.Fatal(err)
		}
		k, b := renewed(t, m, kept, strings.Replace(s.url(), "realtime:", "poor:", 1))
		for _, err := range []error{k, b} {
			if err == nil || !strings.Contains(err.Error(), c.lacks) {
				t.Errorf("%s: %v; want an error with %q", name, err, c.lacks)
			}
		}
	}
	if err := s.do("CLIENT", "KILL", "USER", "realtime").Error(); err != nil {
		t.Fatal(err)
	}
	var l ledger
	m.publishUntilAccepted(&l, "app", "a", "with the user that has the rights")
	until(t, "it arrives", func() bool { return len(m.delivered("app")) > 0 })
}
