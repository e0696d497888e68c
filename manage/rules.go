package manage

import (
	"encoding/json"
	"strings"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/bounds"
	"github.com/seed-c079cc48/caddy-realtime/internal/jsonscan"
	"github.com/seed-c079cc48/caddy-realtime/internal/pattern"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/message"
)

// A Rule is the admin API's form of a channel rule.
type Rule struct {
	Match        string          `json:"match"`
	Access       keystore.Access `json:"access"`
	Presence     bool            `json:"presence"`
	ClientEvents bool            `json:"client_events"`
	History      *History        `json:"history"` // null: the app's
}

const ruleExample = `{"match":"orders.*","access":"token"}`

// rules returns the rules that the patch sets: nil for the default ones, or if it
// sets none.
func (p *Patch) rules() ([]keystore.Rule, error) {
	if jsonscan.IsNull(p.Channels) {
		return nil, nil
	}
	if p.Channels[0] != '[' {
		return nil, apierr.InvalidRequest("channels is %s. Send a list of rules: [%s], or null for the default ones.", jsonscan.Kind(p.Channels[0]), ruleExample)
	}
	var list []json.RawMessage
	if err := json.Unmarshal(p.Channels, &list); err != nil {
		return nil, apierr.InvalidJSON("channels cannot be read: %s.", err)
	}
	if n := len(list); n > keystore.MaxRules {
		return nil, apierr.InvalidRequest("channels has %d rules; at most %d are allowed. A * stands for the rest of a name.", n, keystore.MaxRules)
	}
	rules := make([]keystore.Rule, 0, len(list))
	for i, raw := range list {
		rule, err := ruleOf(raw)
		if err != nil {
			refusal := apierr.As(err)
			return nil, apierr.InvalidRequest("Rule %d: %s", i+1, refusal.Message)
		}
		for _, before := range rules {
			if before.Match == rule.Match {
				return nil, apierr.InvalidRequest("Rule %d is for %s, as is an earlier rule, which would win. Remove one of them.", i+1, text.Quote(rule.Match))
			}
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

// ParseRule reads one rule as the admin API takes it.
func ParseRule(raw json.RawMessage) (Rule, error) {
	rule, err := ruleOf(raw)
	if err != nil {
		return Rule{}, err
	}
	return viewRule(rule), nil
}

func ruleOf(raw json.RawMessage) (rule keystore.Rule, err error) {
	if raw[0] != '{' {
		return rule, apierr.InvalidRequest("It is %s. A rule is an object: %s.", jsonscan.Kind(raw[0]), ruleExample)
	}
	var body struct {
		Match        *string         `json:"match"`
		Access       json.RawMessage `json:"access"`
		Presence     bool            `json:"presence"`
		ClientEvents bool            `json:"client_events"`
		History      json.RawMessage `json:"history"`
	}
	if err := decodeStrict(raw, &body); err != nil {
		return rule, err
	}
	if body.Match == nil {
		return rule, apierr.InvalidRequest("It needs match, a channel's name or the beginning of names with a *: %s.", ruleExample)
	}
	if err := CheckPattern("match", *body.Match); err != nil {
		return rule, err
	}
	if err := checkNoKey("match", *body.Match); err != nil {
		return rule, err
	}
	access, err := accessOf(body.Access)
	if err != nil {
		return rule, err
	}
	rule = keystore.Rule{Match: *body.Match, Access: access, Presence: body.Presence, ClientEvents: body.ClientEvents}
	if jsonscan.IsNull(body.History) {
		return rule, nil
	}
	rule.History, err = historyOf(body.History)
	return rule, err
}

// accessOf reads who may subscribe: everybody who may connect, if raw is absent. null
// is refused, because it comes from a value that was forgotten.
func accessOf(raw json.RawMessage) (keystore.Access, error) {
	if raw == nil {
		return keystore.AccessOpen, nil
	}
	var access keystore.Access
	if err := json.Unmarshal(raw, &access); err == nil {
		switch access {
		case keystore.AccessOpen, keystore.AccessToken, keystore.AccessClosed:
			return access, nil
		}
	}
	return "", apierr.InvalidRequest(`access is %s. It must be "open", "token" or "closed".`, text.Quote(strings.Trim(string(raw), `"`)))
}

// CheckPattern returns an error that says why a pattern matches no channel, or nil.
func CheckPattern(name, p string) error {
	prefix, valid := pattern.Prefix(p)
	if !valid {
		return apierr.InvalidRequest(`%s is %s. It must be a channel's name, or the beginning of names followed by one *: "orders.*".`, name, text.Quote(p))
	}
	if prefix == "" {
		return nil
	}
	if err := message.CheckChannel(prefix); err != nil {
		return apierr.InvalidRequest("%s is %s, which no channel can be. %s", name, text.Quote(p), apierr.As(err).Message)
	}
	return nil
}

// historyOf reads what channels keep.
func historyOf(raw json.RawMessage) (*keystore.History, error) {
	field := amount{"history", "messages", "age", `{"messages":100,"age":"2m"}`, "No history"}
	var body struct {
		Messages *int   `json:"messages"`
		Age      string `json:"age"`
	}
	if err := field.decode(raw, &body); err != nil {
		return nil, err
	}
	history := new(keystore.History)
	var err error
	if history.Messages, history.Age, err = field.read(body.Messages, body.Age); err != nil {
		return nil, err
	}
	if err := bounds.CheckHistory(field.name, history.Messages, history.Age); err != nil {
		return nil, apierr.InvalidRequest("%s.", err)
	}
	return history, nil
}

// viewRules returns the admin API's form of rules.
func viewRules(rules []keystore.Rule) []Rule {
	views := make([]Rule, 0, len(rules))
	for _, r := range rules {
		views = append(views, viewRule(r))
	}
	return views
}

func viewRule(r keystore.Rule) Rule {
	return Rule{r.Match, r.Access, r.Presence, r.ClientEvents, viewHistory(r.History)}
}

func viewHistory(h *keystore.History) *History {
	if h == nil {
		return nil
	}
	v := &History{Messages: h.Messages}
	if h.Messages > 0 {
		v.Age = text.ShortDuration(h.Age)
	}
	return v
}
