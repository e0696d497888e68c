package keystore

import (
	"fmt"

	"github.com/seed-c079cc48/caddy-realtime/internal/pattern"
)

// A Rule says who may subscribe to the channels that it matches, and what these
// channels have.
type Rule struct {
	// Match is a channel's name, or a prefix of names followed by one *.
	Match string

	Access Access

	// Presence means that subscribers see each other, by user.
	Presence bool

	// ClientEvents means that subscribers can send events to each other.
	ClientEvents bool

	// History is what the channels keep; nil means as much as the app's others.
	History *History
}

// Access says who may subscribe to a channel.
type Access string

// The kinds of access.
const (
	AccessOpen   Access = "open"   // everybody who may connect
	AccessToken  Access = "token"  // who has a token for the channel
	AccessClosed Access = "closed" // nobody
)

// DefaultRules are the rules of an app that has none of its own: names that begin
// as those of Pusher's private and presence channels need a token.
func DefaultRules() []Rule {
	return []Rule{
		{Match: "private-*", Access: AccessToken},
		{Match: "presence-*", Access: AccessToken, Presence: true},
	}
}

var (
	defaultRules = DefaultRules()
	openRule     = Rule{Match: "*", Access: AccessOpen}
)

// RulesInForce returns the app's rules, or the default ones. They must not be
// changed.
func (a *App) RulesInForce() []Rule {
	if a.Rules == nil {
		return defaultRules
	}
	return a.Rules
}

// Rule returns the rule of a channel: the first that matches, otherwise an open
// one. It must not be changed.
func (a *App) Rule(channel string) *Rule {
	rules := a.RulesInForce()
	for i := range rules {
		if pattern.Matches(rules[i].Match, channel) {
			return &rules[i]
		}
	}
	return &openRule
}

// MaxRules is the maximum number of an app's rules: each subscribe may look at all
// of them.
const MaxRules = 100

func (a *App) validateRules() error {
	if n := len(a.Rules); n > MaxRules {
		return fmt.Errorf("%d rules are more than %d", n, MaxRules)
	}
	for _, r := range a.Rules {
		if _, valid := pattern.Prefix(r.Match); !valid {
			return fmt.Errorf("the rule for %q matches nothing", r.Match)
		}
		switch r.Access {
		case AccessOpen, AccessToken, AccessClosed:
		default:
			return fmt.Errorf("the rule for %q has the unknown access %q", r.Match, r.Access)
		}
		if err := r.History.validate(); err != nil {
			return fmt.Errorf("the rule for %q: %w", r.Match, err)
		}
	}
	return nil
}

func cloneRules(rules []Rule) []Rule {
	if rules == nil {
		return nil
	}
	c := make([]Rule, len(rules))
	for i, r := range rules {
		if r.History != nil {
			r.History = new(*r.History)
		}
		c[i] = r
	}
	return c
}
