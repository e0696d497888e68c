package manage_test

import (
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/managetest"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

// order returns the matches of rules, in their order.
func order(rules []manage.Rule) string {
	list := make([]string, 0, len(rules))
	for _, r := range rules {
		list = append(list, r.Match)
	}
	return strings.Join(list, " ")
}

func rulesFor(matches string) (rules []manage.Rule) {
	for match := range strings.FieldsSeq(matches) {
		rules = append(rules, manage.Rule{Match: match, Access: keystore.AccessToken})
	}
	return rules
}

func TestRulesMoveWithinTheList(t *testing.T) {
	for _, c := range []struct {
		match string
		by    int
		want  string
	}{
		{"b", -1, "b a c"}, {"b", 1, "a c b"}, {"a", -1, "a b c"}, {"c", 1, "a b c"}, {"a", 2, "b c a"}, {"c", -9, "c a b"}, {"b", 0, "a b c"},
	} {
		got, err := manage.MoveRule(rulesFor("a b c"), c.match, c.by)
		if err != nil || order(got) != c.want {
			t.Errorf("%s by %d: %s, %v", c.match, c.by, order(got), err)
		}
	}
}

func TestRuleThatIsGoneCannotBeChanged(t *testing.T) {
	for what, change := range map[string]func() ([]manage.Rule, error){
		"move":    func() ([]manage.Rule, error) { return manage.MoveRule(rulesFor("a b"), "a*", 1) },
		"remove":  func() ([]manage.Rule, error) { return manage.RemoveRule(rulesFor("a b"), "") },
		"replace": func() ([]manage.Rule, error) { return manage.ReplaceRule(nil, "a", manage.Rule{Match: "a"}) },
	} {
		if rules, err := change(); err == nil || !strings.Contains(apierr.As(err).Message, "has no rule for") {
			t.Errorf("%s: %s, %v", what, order(rules), err)
		}
	}
}

func TestRuleIsHiddenByAnEarlierOneThatMatchesAllOfItsChannels(t *testing.T) {
	for _, c := range []struct {
		rules string
		want  int // the rule that hides the last one
	}{
		{"orders.* orders.42", 0}, {"a orders.* orders.42.*", 1}, {"* private-*", 0}, {"orders.42 orders.*", -1}, {"orders.4* orders.*", -1}, {"orders.* orders.", 0}, {"a", -1},
	} {
		rules := rulesFor(c.rules)
		if got := manage.Hiding(rules, len(rules)-1); got != c.want {
			t.Errorf("%s: %d", c.rules, got)
		}
	}
}

// Two operators look at the same rules, and both change them.
func TestChangeOfRulesThatOthersHaveChangedIsRefused(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t)
	o := s.Gateway.Operator(zap.NewNop())
	anyVersion := func(*keystore.App) error { return nil }
	_, err := o.ChangeRules(app.ID, anyVersion, func(rules []manage.Rule) ([]manage.Rule, error) {
		patchRules(t, s, app.ID, `[{"match":"theirs","access":"closed"}]`)
		return manage.PlaceRule(rules, rulesFor("mine")[0], false), nil
	})
	if err == nil || apierr.As(err).Code != "precondition_failed" {
		t.Errorf("%v", err)
	}
	if rules := s.MustHold(t, app.ID).Rules; len(rules) != 1 || rules[0].Match != "theirs" {
		t.Errorf("%+v", rules)
	}
	if _, err := o.ChangeRules("app_none", anyVersion, func(rules []manage.Rule) ([]manage.Rule, error) { return rules, nil }); apierr.As(err).Code != "not_found" {
		t.Errorf("%v", err)
	}
}
