package manage_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/managetest"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

// patchRules sets the rules of an app, and returns the app that is answered.
func patchRules(t *testing.T, s *managetest.Server, app, rules string) manage.App {
	t.Helper()
	w := s.Do("PATCH", "/realtime/apps/"+app, `{"channels":`+rules+`}`)
	if w.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", rules, w.Code, w.Body)
	}
	var shown manage.App
	if err := json.Unmarshal(w.Body.Bytes(), &shown); err != nil {
		t.Fatal(err)
	}
	s.MustHold(t, app)
	return shown
}

func TestRulesOfAnAppAreShownAsTheyWereSet(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t)
	long := strings.Repeat("a", 200)
	for _, c := range []struct{ rules, want string }{
		{`[]`, `[]`},
		{`[{"match":"orders.42"}]`, `[{"match":"orders.42","access":"open","presence":false,"client_events":false,"history":null}]`},
		{
			`[{"match":"orders.*","access":"token","presence":true,"client_events":true,"history":{"messages":5,"age":"90s"}},{"match":"*","access":"closed","history":{"messages":0}}]`,
			`[{"match":"orders.*","access":"token","presence":true,"client_events":true,"history":{"messages":5,"age":"1m30s"}},{"match":"*","access":"closed","presence":false,"client_events":false,"history":{"messages":0}}]`,
		},
		{`[{"match":"a-_=@,.;:/*","presence":null,"client_events":null,"history":null}]`, `[{"match":"a-_=@,.;:/*","access":"open","presence":false,"client_events":false,"history":null}]`},
		{`[{"match":"` + long + `"},{"match":"` + long + `*"}]`, `[{"match":"` + long + `","access":"open","presence":false,"client_events":false,"history":null},{"match":"` + long + `*","access":"open","presence":false,"client_events":false,"history":null}]`},
	} {
		shown := patchRules(t, s, app.ID, c.rules)
		got, err := json.Marshal(shown.Channels)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != c.want || shown.DefaultRules {
			t.Errorf("%s is shown as %s, default %t", c.rules, got, shown.DefaultRules)
		}
		// What is shown can be sent back.
		if again := patchRules(t, s, app.ID, string(got)); len(again.Channels) != len(shown.Channels) {
			t.Errorf("%s comes back as %+v", got, again.Channels)
		}
	}
}

func TestNullRulesAreTheDefaultOnes(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t)
	patchRules(t, s, app.ID, `[{"match":"*","access":"closed"}]`)
	shown := patchRules(t, s, app.ID, `null`)
	if !shown.DefaultRules || len(shown.Channels) != 2 || shown.Channels[0].Match != "private-*" || !shown.Channels[1].Presence {
		t.Errorf("shown as %+v", shown)
	}
	if rules := s.MustHold(t, app.ID).Rules; rules != nil {
		t.Errorf("stored as %+v", rules)
	}
}

func TestRulesThatAreNotInAPatchStay(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t)
	patchRules(t, s, app.ID, `[]`)
	s.Do("PATCH", "/realtime/apps/"+app.ID, `{"name":"other"}`)
	if rules := s.MustHold(t, app.ID).Rules; rules == nil || len(rules) != 0 {
		t.Errorf("%#v", rules)
	}
}

func TestRuleThatCannotBeMeantIsRefusedWithTheCure(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t)
	many := strings.TrimSuffix(strings.Repeat(`{"match":"a"},`, keystore.MaxRules+1), ",")
	for rules, says := range map[string]string{
		`{}`:                            `channels is an object. Send a list of rules: [{"match":"orders.*","access":"token"}], or null`,
		`"orders.*"`:                    `channels is a string. Send a list of rules`,
		`5`:                             `channels is a number.`,
		`false`:                         `channels is a boolean.`,
		`[` + many + `]`:                `channels has 101 rules; at most 100 are allowed. A * stands for the rest of a name.`,
		`[null]`:                        `Rule 1: It is null. A rule is an object: {"match":"orders.*"`,
		`[{"match":"a"},"b"]`:           `Rule 2: It is a string.`,
		`[[]]`:                          `Rule 1: It is an array.`,
		`[{}]`:                          `Rule 1: It needs match`,
		`[{"match":null}]`:              `Rule 1: It needs match`,
		`[{"match":5}]`:                 `Rule 1: match must be a string, not a number.`,
		`[{"match":""}]`:                `Rule 1: match is "". It must be a channel's name, or the beginning of names followed by one *: "orders.*".`,
		`[{"match":"a*b"}]`:             `Rule 1: match is "a*b". It must be a channel's name, or the beginning`,
		`[{"match":"**"}]`:              `Rule 1: match is "**".`,
		`[{"match":"*.a"}]`:             `Rule 1: match is "*.a".`,
		`[{"match":"a b"}]`:             `Rule 1: match is "a b", which no channel can be. The channel's name has ' ' at character 2. Allowed are A-Z`,
		`[{"match":"ü*"}]`:              `The channel's name has 'ü' at character 1.`,
		`[{"match":"a\u0000"}]`:         `at character 2.`,
		`[{"match":"\ud800"}]`:          `half of a surrogate pair`,
		`[{"match":"a?"}]`:              `has '?' at character 2.`,
		`[{"match":"#private-a"}]`:      `has '#' at character 1.`,
		`[{"match":"` + longer + `"}]`:  `The channel's name has 201 characters. At most 200 are allowed.`,
		`[{"match":"` + longer + `*"}]`: `The channel's name has 201 characters.`,
		`[{"match":"pk_live_` + longer[:32] + `"}]`:                     `Rule 1: match contains a key, which would be stored and shown in plain text.`,
		`[{"match":"a"},{"match":"b"},{"match":"a","access":"closed"}]`: `Rule 3 is for "a", as is an earlier rule, which would win. Remove one of them.`,
		`[{"match":"a","access":"none"}]`:                               `Rule 1: access is "none". It must be "open", "token" or "closed".`,
		`[{"match":"a","access":""}]`:                                   `access is "".`,
		`[{"match":"a","access":"Token"}]`:                              `access is "Token".`,
		`[{"match":"a","access":null}]`:                                 `access is "null". It must be`,
		`[{"match":"a","access":5}]`:                                    `access is "5". It must be`,
		`[{"match":"a","access":["open"]}]`:                             `It must be "open", "token" or "closed".`,
		`[{"match":"a","presence":"yes"}]`:                              `Rule 1: presence must be true or false, not a string.`,
		`[{"match":"a","client_events":1}]`:                             `client_events must be true or false, not a number.`,
		`[{"match":"a","history":5}]`:                                   `Rule 1: history is a number. Send {"messages":100,"age":"2m"}, or null`,
		`[{"match":"a","history":{}}]`:                                  `history needs messages: {"messages":100,"age":"2m"}. No history is {"messages":0}.`,
		`[{"match":"a","history":{"messages":"5"}}]`:                    `messages must be a whole number, not a string.`,
		`[{"match":"a","history":{"messages":5}}]`:                      `history's age is a duration: {"messages":100,"age":"2m"}.`,
		`[{"match":"a","history":{"messages":5,"age":5}}]`:              `age must be a duration, "2m", not a number.`,
		`[{"match":"a","history":{"messages":5,"age":"25h"}}]`:          `history's age is 25h; it must be from 10ms to 24h.`,
		`[{"match":"a","history":{"messages":10001,"age":"1m"}}]`:       `history is 10001; it must be from 1 to 10000; write 0 for none.`,
		`[{"match":"a","history":{"messages":-1,"age":"1m"}}]`:          `history is -1`,
		`[{"match":"a","history":{"messages":1,"age":"1m","x":1}}]`:     `Unknown field "x".`,
		`[{"match":"a","colour":"red"}]`:                                `Rule 1: Unknown field "colour".`,
		`[{"match":"a","match":"b"}]`:                                   `Rule 1: "match" is duplicated. Send it once.`,
		`[{"Match":"a"}]`:                                               `Unknown field "Match". Names are lowercase.`,
	} {
		w := s.Do("PATCH", "/realtime/apps/"+app.ID, `{"channels":`+rules+`}`)
		var refusal struct {
			Error struct{ Code, Message string }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &refusal); err != nil {
			t.Fatal(err)
		}
		if w.Code != http.StatusBadRequest || refusal.Error.Code != "invalid_request" || !strings.Contains(refusal.Error.Message, says) {
			t.Errorf("%.80s: %d %s, want %q", rules, w.Code, refusal.Error.Message, says)
		}
		if now := s.MustHold(t, app.ID); now.Rules != nil {
			t.Fatalf("%.80s is refused, but leaves %+v", rules, now.Rules)
		}
	}
}

var longer = strings.Repeat("a", 201)

func TestAsManyRulesAsAreAllowedFitIntoABody(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t)
	rules := make([]string, 0, keystore.MaxRules)
	for i := range keystore.MaxRules {
		rules = append(rules, fmt.Sprintf(`{"match":"%s%03d*","access":"closed","presence":false,"client_events":false,"history":{"messages":10000,"age":"23h59m59.999s"}}`, longer[:197], i))
	}
	if shown := patchRules(t, s, app.ID, "["+strings.Join(rules, ",")+"]"); len(shown.Channels) != keystore.MaxRules {
		t.Errorf("%d rules", len(shown.Channels))
	}
}

func TestConnectionsPerUserAreLimitedAndUnlimited(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t)
	for _, c := range []struct {
		sent   string
		want   int
		status int
	}{
		{`1`, 1, 200}, {`1000000`, 1_000_000, 200}, {`0`, 1_000_000, 400}, {`1000001`, 1_000_000, 400}, {`1.5`, 1_000_000, 400}, {`"5"`, 1_000_000, 400}, {`null`, 0, 200},
	} {
		w := s.Do("PATCH", "/realtime/apps/"+app.ID, `{"max_connections_per_user":`+c.sent+`}`)
		if got := s.MustHold(t, app.ID).MaxConnectionsPerUser; w.Code != c.status || got != c.want {
			t.Errorf("%s: %d %s, then %d", c.sent, w.Code, w.Body, got)
		}
		if c.status == 400 && !strings.Contains(w.Body.String(), "max_connections_per_user is a whole number from 1 to 1000000, or null") {
			t.Errorf("%s: %s", c.sent, w.Body)
		}
	}
	if !strings.Contains(s.Do("GET", "/realtime/apps/"+app.ID, "").Body.String(), `"max_connections_per_user":null`) {
		t.Error("no limit is not shown as null")
	}
}

// A change of the rules is one of the app: If-Match protects it.
func TestRulesChangeTheETag(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t)
	seen := map[string]string{}
	for _, rules := range []string{`null`, `[]`, `[{"match":"a"}]`, `[{"match":"a","access":"token"}]`, `[{"match":"a","history":{"messages":0}}]`} {
		patchRules(t, s, app.ID, rules)
		tag := s.Do("GET", "/realtime/apps/"+app.ID, "").Header().Get("ETag")
		if other, ok := seen[tag]; ok {
			t.Errorf("%s and %s have the ETag %s", rules, other, tag)
		}
		seen[tag] = rules
	}
}

// FuzzRules sets rules and asks for the rule of a channel. What is accepted is
// shown so that it can be sent back, and matches as the same patterns do in
// another implementation.
func FuzzRules(f *testing.F) {
	for _, seed := range []struct{ rules, channel string }{
		{`[{"match":"orders.*","access":"token"},{"match":"*","access":"closed"}]`, "orders.42"},
		{`[{"match":"orders","access":"closed"}]`, "orders.42"},
		{`[{"match":"*"}]`, "a"},
		{`[]`, "private-a"},
		{`null`, "presence-room.1"},
		{`[{"match":"a*b"}]`, "aab"},
		{`[{"match":"\u0061*","presence":true}]`, "a*"},
		{`[{"match":"a","history":{"messages":1,"age":"1m"}},{"match":"a"}]`, "a"},
		{`[{"match":"","access":null}]`, ""},
		{`[{"match":"a"}] []`, "a"},
	} {
		f.Add([]byte(seed.rules), seed.channel)
	}
	s := managetest.New(f)
	app := s.Create(f)
	f.Fuzz(func(t *testing.T, rules []byte, channel string) {
		before := s.MustHold(t, app.ID)
		w := s.Do("PATCH", "/realtime/apps/"+app.ID, `{"channels":`+string(rules)+`}`)
		if w.Code != http.StatusOK {
			if now := s.MustHold(t, app.ID); w.Code != http.StatusBadRequest && w.Code != http.StatusRequestEntityTooLarge || now != before {
				t.Fatalf("%s is refused with %d %s, and leaves %+v", rules, w.Code, w.Body, now)
			}
			return
		}
		after := s.MustHold(t, app.ID)
		var shown struct{ Channels json.RawMessage }
		if err := json.Unmarshal(w.Body.Bytes(), &shown); err != nil {
			t.Fatal(err)
		}
		if string(rules) != "null" && json.Valid(rules) {
			patchRules(t, s, app.ID, string(shown.Channels))
			if again := s.MustHold(t, app.ID); managetest.StoredText(t, again) != managetest.StoredText(t, after) {
				t.Fatalf("%s is shown as %s, which sets %+v", rules, shown.Channels, again.Rules)
			}
		}
		checkRuleOf(t, after, channel)
	})
}

// checkRuleOf holds the rule of a channel to the first one that matches it, by
// another way to match.
func checkRuleOf(t *testing.T, app *keystore.App, channel string) {
	t.Helper()
	want := keystore.Rule{Match: "*", Access: keystore.AccessOpen}
	for _, rule := range app.RulesInForce() {
		if strings.Count(rule.Match, "*") > 1 || strings.Contains(strings.TrimSuffix(rule.Match, "*"), "*") || rule.Match == "" {
			t.Fatalf("the pattern %q is accepted", rule.Match)
		}
		parts := strings.SplitN(rule.Match, "*", 2)
		if len(parts) == 1 && channel == rule.Match || len(parts) == 2 && len(channel) >= len(parts[0]) && channel[:len(parts[0])] == parts[0] {
			want = rule
			break
		}
	}
	got := app.Rule(channel)
	if got.Match != want.Match || got.Access != want.Access || got.Presence != want.Presence || got.ClientEvents != want.ClientEvents {
		t.Fatalf("the rule of %q is %+v, not %+v", channel, got, want)
	}
	if h := got.History; h != nil && h.Messages > 0 && (h.Age < 10*time.Millisecond || h.Age > 24*time.Hour) {
		t.Fatalf("the rule of %q keeps %+v", channel, h)
	}
}
