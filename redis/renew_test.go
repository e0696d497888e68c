package redis

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
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

func TestReloadWithAnotherPasswordIsUsedFromThenOn(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func() (url string, servers []*redisServer){
		"standalone": func() (string, []*redisServer) {
			s := startRedis(t)
			return s.url(), []*redisServer{s}
		},
		"Sentinel": func() (string, []*redisServer) {
			w := startSentinel(t)
			return w.url, []*redisServer{w.primary, w.replica}
		},
	} {
		t.Run(name, func(t *testing.T) {
			url, servers := start()
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
