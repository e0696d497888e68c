package portal

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
	"github.com/seed-c079cc48/caddy-realtime/message"
)

// rulesView is the section of an app's page with its channel rules.
type rulesView struct {
	Rows    []ruleRow
	Default bool     // the rules are the default ones
	Rest    bool     // some channels have no rule
	New     ruleForm // to add a rule
	Tried   *ruleTrial
}

// ruleRow is a rule in the table.
type ruleRow struct {
	manage.Rule
	Number      int // from 1
	First, Last bool
	Hidden      string // the match of the rule that keeps it from having an effect, or ""
	Form        ruleForm
}

// ruleForm holds the values of a form for a rule.
type ruleForm struct {
	Match, Access, History, HistoryAge string
	Presence, ClientEvents             bool
	Open                               bool // it was refused, and is shown again
}

// ruleTrial says which rule a channel gets.
type ruleTrial struct {
	Channel string
	Refusal string // why there is no such channel, or ""
	Number  int    // of the rule, or 0 if none matches
	Match   string
	Says    []string
}

// newRulesView returns the section. channel is a channel to try, or "". refused is a form
// to show again, and its rule; nil if there is none.
func newRulesView(app *manage.App, channel string, refused *ruleForm, was string) rulesView {
	v := rulesView{Default: app.DefaultRules, Rest: manage.FindRule(app.Channels, "*") < 0, New: ruleForm{Access: string(keystore.AccessToken)}}
	for i, r := range app.Channels {
		row := ruleRow{Rule: r, Number: i + 1, First: i == 0, Last: i == len(app.Channels)-1, Form: newRuleForm(r)}
		if hiding := manage.Hiding(app.Channels, i); hiding >= 0 {
			row.Hidden = app.Channels[hiding].Match
		}
		if refused != nil && was == r.Match {
			row.Form = *refused
		}
		v.Rows = append(v.Rows, row)
	}
	if refused != nil && was == "" {
		v.New = *refused
	}
	if channel != "" {
		v.Tried = tryRules(app.Channels, channel)
	}
	return v
}

func newRuleForm(r manage.Rule) ruleForm {
	form := ruleForm{Match: r.Match, Access: string(r.Access), Presence: r.Presence, ClientEvents: r.ClientEvents}
	if r.History != nil {
		form.History, form.HistoryAge = strconv.Itoa(r.History.Messages), r.History.Age
	}
	return form
}

// tryRules says which of the rules a channel gets.
func tryRules(rules []manage.Rule, channel string) *ruleTrial {
	trial := &ruleTrial{Channel: channel}
	if err := message.CheckChannel(channel); err != nil {
		trial.Refusal = apierr.As(err).Message
		return trial
	}
	rule := manage.Rule{Match: "*", Access: keystore.AccessOpen}
	if at := manage.RuleOf(rules, channel); at >= 0 {
		rule = rules[at]
		trial.Number, trial.Match = at+1, rule.Match
	}
	trial.Says = explainRule(rule)
	return trial
}

// Subscribers says in words who may subscribe.
func (r ruleRow) Subscribers() string { return subscribers(r.Access) }

func subscribers(access keystore.Access) string {
	switch access {
	case keystore.AccessToken:
		return "clients with a token that lists the channel"
	case keystore.AccessClosed:
		return "nobody"
	case keystore.AccessOpen:
	}
	return "anyone who may connect"
}

// explainRule says in sentences what a rule means for its channels.
func explainRule(r manage.Rule) []string {
	says := []string{upperFirst(subscribers(r.Access)) + " may subscribe."}
	if r.Access != keystore.AccessClosed {
		if r.Presence {
			says = append(says, "Subscribers see which users are there.")
		}
		switch {
		case r.ClientEvents && r.Access == keystore.AccessToken:
			says = append(says, "Subscribers may send each other events if their token allows it.")
		case r.ClientEvents:
			says = append(says, "Subscribers may send each other events.")
		}
	}
	switch h := r.History; {
	case h == nil:
		says = append(says, "It keeps as many messages as the app's settings say.")
	case h.Messages == 0:
		says = append(says, "It keeps no messages.")
	default:
		says = append(says, "It keeps "+strconv.Itoa(h.Messages)+" messages for "+h.Age+".")
	}
	return says
}

// changeRules performs an action on the app's rules. The form's rule is the match of
// the one to change, or "" for a new one.
func (v *visit) changeRules(app *keystore.App, do string) error {
	form, o := v.r.PostForm, v.operator()
	was := form.Get("rule")
	match := func(app *keystore.App) error { return manage.CheckMatch(form["etag"], app) }
	change := func(change func([]manage.Rule) ([]manage.Rule, error)) error {
		_, err := o.ChangeRules(app.ID, match, change)
		return err
	}
	var err error
	switch do {
	case "rule-save":
		err = change(v.saveRule)
	case "rule-up":
		err = change(func(rules []manage.Rule) ([]manage.Rule, error) { return manage.MoveRule(rules, was, -1) })
	case "rule-down":
		err = change(func(rules []manage.Rule) ([]manage.Rule, error) { return manage.MoveRule(rules, was, 1) })
	case "rule-remove":
		err = change(func(rules []manage.Rule) ([]manage.Rule, error) { return manage.RemoveRule(rules, was) })
	case "rule-reset":
		_, err = o.PatchApp(app.ID, &manage.Patch{Channels: json.RawMessage("null")}, match)
	default:
		err = errNoAction()
	}
	if err == nil {
		return v.redirect(v.root() + "app/" + app.ID + "?done=rules#rules")
	}
	page := v.appPage(app)
	if do == "rule-save" {
		page.Rules = newRulesView(&page.App, "", v.ruleForm(), was)
	}
	return v.refuseOn(page, err)
}

// saveRule adds the form's rule, or changes the one that it is for.
func (v *visit) saveRule(rules []manage.Rule) ([]manage.Rule, error) {
	form := v.ruleForm()
	raw, err := json.Marshal(map[string]any{
		"match": form.Match, "access": form.Access, "presence": form.Presence, "client_events": form.ClientEvents,
		"history": historyOrNull(form.History, form.HistoryAge),
	})
	if err != nil {
		return nil, err
	}
	rule, err := manage.ParseRule(raw)
	if err != nil {
		return nil, err
	}
	was := v.r.PostForm.Get("rule")
	if was != rule.Match && manage.FindRule(rules, rule.Match) >= 0 {
		return nil, apierr.InvalidRequest("The app has a rule for %s already. Edit that one.", text.Quote(rule.Match))
	}
	if was == "" {
		return manage.PlaceRule(rules, rule, false), nil
	}
	return manage.ReplaceRule(rules, was, rule)
}

// ruleForm returns the form as it was sent.
func (v *visit) ruleForm() *ruleForm {
	form := v.r.PostForm
	return &ruleForm{
		Match: strings.TrimSpace(form.Get("match")), Access: form.Get("access"), History: form.Get("history"), HistoryAge: form.Get("history_age"),
		Presence: form.Get("presence") == "on", ClientEvents: form.Get("client_events") == "on", Open: true,
	}
}
