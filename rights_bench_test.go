package realtime

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/token"
)

// BenchmarkRules measures what channel rules and tokens add to a subscribe, and in turns
// what is done without them, so that a noisy machine slows both. It reports medians: at
// most 1 µs more is allowed.
func BenchmarkRules(b *testing.B) {
	key, _ := keystore.NewKey(keystore.Sign, "")
	grants := func(n int) (grants []token.Grant) {
		for i := range n - 1 {
			grants = append(grants, token.Grant{Match: fmt.Sprintf("private-other.%d", i)})
		}
		return append(grants, token.Grant{Match: "private-user.*"})
	}
	var hundred []keystore.Rule
	for i := range 99 {
		hundred = append(hundred, keystore.Rule{Match: fmt.Sprintf("other.%d.*", i), Access: keystore.AccessClosed})
	}
	hundred = append(hundred, keystore.Rule{Match: "private-*", Access: keystore.AccessToken})
	const channel = "private-user.42"
	without := &keystore.App{ID: "app_none", Rules: []keystore.Rule{}, Keys: []keystore.Key{key}}
	for _, c := range []struct {
		name  string
		rules []keystore.Rule // nil: the default ones
		token *token.Token
	}{
		{"a rule that opens", []keystore.Rule{{Match: "private-*", Access: keystore.AccessOpen}}, nil},
		{"the default rules", nil, &token.Token{User: "42", Key: key.ID, Grants: grants(2)}},
		{"100 rules", hundred, &token.Token{User: "42", Key: key.ID, Grants: grants(2)}},
		{"100 channels in the token", nil, &token.Token{User: "42", Key: key.ID, Grants: grants(100)}},
	} {
		b.Run(c.name, func(b *testing.B) {
			with := &keystore.App{ID: "app_rules", Rules: c.rules, Keys: []keystore.Key{key}}
			ruled, free := new(socket), new(socket)
			if c.token != nil {
				c.token.Expires = time.Now().Add(time.Hour)
				r := new(rights)
				if err := r.use(c.token, ""); err != nil {
					b.Fatal(err)
				}
				ruled.rights.Store(r)
			}
			// What subscribe asks before, when and after it has joined.
			subscribe := func(s *socket, app *keystore.App) time.Duration {
				const times = 100
				began := time.Now()
				for range times {
					rule := app.Rule(channel)
					before := s.mayJoin(app, rule, channel)
					s.attend(rule, channel)
					if before != nil || app.Rule(channel).Presence || s.mayJoin(app, app.Rule(channel), channel) != nil {
						b.Fatal(before)
					}
				}
				return time.Since(began) / times
			}
			var rules, none []time.Duration
			for b.Loop() {
				rules, none = append(rules, subscribe(ruled, with)), append(none, subscribe(free, without))
			}
			slices.Sort(rules)
			slices.Sort(none)
			r, n := rules[len(rules)/2], none[len(none)/2]
			b.ReportMetric(float64(r), "rules-ns")
			b.ReportMetric(float64(n), "without-ns")
			b.ReportMetric(float64(r-n), "over-ns")
			b.ReportMetric(0, "ns/op") // of both together
		})
	}
}
