package manage

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/pattern"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// ChangeRules replaces an app's rules with what change makes of those in force. If
// these are the default rules, they become the app's own. match returns an error if
// the app is not as the operator last saw it.
func (o Operator) ChangeRules(id string, match func(*keystore.App) error, change func([]Rule) ([]Rule, error)) (*keystore.App, error) {
	seen, ok := o.gateway.Registry.App(id)
	if !ok {
		return nil, errNoSuchApp(id)
	}
	if err := match(seen); err != nil {
		return nil, err
	}
	rules, err := change(viewRules(seen.RulesInForce()))
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(rules)
	if err != nil {
		return nil, err
	}
	return o.PatchApp(id, &Patch{Channels: raw}, func(now *keystore.App) error {
		if ETag(now) != ETag(seen) {
			return apierr.PreconditionFailed()
		}
		return nil
	})
}

// PlaceRule adds a rule, or replaces the one with the same match in its place. A new
// rule goes to the end, but before a rule that would keep it from having an effect;
// with first, the rule becomes the first one.
func PlaceRule(rules []Rule, rule Rule, first bool) []Rule {
	at := FindRule(rules, rule.Match)
	if at >= 0 {
		if !first {
			rules[at] = rule
			return rules
		}
		rules = slices.Delete(rules, at, at+1)
	}
	if at = slices.IndexFunc(rules, func(r Rule) bool { return covers(r.Match, rule.Match) }); at < 0 {
		at = len(rules)
	}
	if first {
		at = 0
	}
	return slices.Insert(rules, at, rule)
}

// ReplaceRule replaces the rule with a match, which the new rule can change.
func ReplaceRule(rules []Rule, match string, rule Rule) ([]Rule, error) {
	at, err := mustFindRule(rules, match)
	if err != nil {
		return nil, err
	}
	rules[at] = rule
	return rules, nil
}

// RemoveRule removes the rule with a match.
func RemoveRule(rules []Rule, match string) ([]Rule, error) {
	at, err := mustFindRule(rules, match)
	if err != nil {
		return nil, err
	}
	return slices.Delete(rules, at, at+1), nil
}

// MoveRule moves the rule with a match by a number of places: -1 makes it apply
// before the one above it. It stays within the list.
func MoveRule(rules []Rule, match string, by int) ([]Rule, error) {
	at, err := mustFindRule(rules, match)
	if err != nil {
		return nil, err
	}
	rule := rules[at]
	rules = slices.Delete(rules, at, at+1)
	return slices.Insert(rules, min(max(at+by, 0), len(rules)), rule), nil
}

// FindRule returns the position of the rule with a match, or -1.
func FindRule(rules []Rule, match string) int {
	return slices.IndexFunc(rules, func(r Rule) bool { return r.Match == match })
}

func mustFindRule(rules []Rule, match string) (int, error) {
	at := FindRule(rules, match)
	if at < 0 {
		return at, apierr.InvalidRequest("The app has no rule for %s. It may have been removed.", text.Quote(match))
	}
	return at, nil
}

// RuleOf returns the position of the rule that applies to a channel: the first that
// matches. It is -1 for a channel without a rule, which is open.
func RuleOf(rules []Rule, channel string) int {
	return slices.IndexFunc(rules, func(r Rule) bool { return pattern.Matches(r.Match, channel) })
}

// Hiding returns the position of the rule that keeps another from having an effect,
// because it is before it and matches all of its channels, or -1.
func Hiding(rules []Rule, rule int) int {
	return slices.IndexFunc(rules[:rule], func(before Rule) bool { return covers(before.Match, rules[rule].Match) })
}

// covers reports whether all channels that match other match general.
func covers(general, other string) bool {
	prefix, _ := strings.CutSuffix(other, "*")
	return general == other || strings.HasSuffix(general, "*") && pattern.Matches(general, prefix)
}
