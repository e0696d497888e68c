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
	k, b := &Keystore{Server: Server{URL: url}, Copy: "unused"}, &Broker{Server{URL: url}}
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
