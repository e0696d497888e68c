package keystore

import "testing"

func TestTheFirstRuleThatMatchesWins(t *testing.T) {
	own := []Rule{
		{Match: "orders.secret", Access: AccessClosed},
		{Match: "orders.*", Access: AccessToken},
		{Match: "orders.open", Access: AccessOpen}, // too late
		{Match: "chat", Access: AccessOpen, ClientEvents: true},
	}
	for _, tc := range []struct {
		rules   []Rule
		channel string
		want    Rule
	}{
		{nil, "private-a", Rule{Match: "private-*", Access: AccessToken}},
		{nil, "private-", Rule{Match: "private-*", Access: AccessToken}},
		{nil, "presence-a", Rule{Match: "presence-*", Access: AccessToken, Presence: true}},
		{nil, "private", Rule{Match: "*", Access: AccessOpen}},
		{nil, "Private-a", Rule{Match: "*", Access: AccessOpen}},
		{nil, "xprivate-a", Rule{Match: "*", Access: AccessOpen}},
		{[]Rule{}, "private-a", Rule{Match: "*", Access: AccessOpen}},
		{own, "orders.secret", own[0]},
		{own, "orders.secret2", own[1]},
		{own, "orders.open", own[1]},
		{own, "orders.", own[1]},
		{own, "orders", Rule{Match: "*", Access: AccessOpen}},
		{own, "chat", own[3]},
		{own, "chat2", Rule{Match: "*", Access: AccessOpen}},
		{own, "private-a", Rule{Match: "*", Access: AccessOpen}},
		{[]Rule{{Match: "*", Access: AccessToken}}, "anything", Rule{Match: "*", Access: AccessToken}},
	} {
		app := &App{Rules: tc.rules}
		if got := app.Rule(tc.channel); *got != tc.want {
			t.Errorf("%q by %v: %+v, not %+v", tc.channel, tc.rules, *got, tc.want)
		}
	}
}

func TestRulesThatMatchNothingAreNotStored(t *testing.T) {
	for _, match := range []string{"", "**", "a*b", "*a", "a**"} {
		if _, err := Encode(&App{ID: "app", Rules: []Rule{{Match: match, Access: AccessOpen}}}); err == nil {
			t.Errorf("%q is stored", match)
		}
	}
	for _, access := range []Access{"", "Open", "private"} {
		if _, err := Encode(&App{ID: "app", Rules: []Rule{{Match: "a", Access: access}}}); err == nil {
			t.Errorf("access %q is stored", access)
		}
	}
}
