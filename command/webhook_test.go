package command

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/commandtest"
	"github.com/seed-c079cc48/caddy-realtime/internal/managetest"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

// A delivering gateway has one state for all webhooks, to which a test adds.
type delivering struct {
	state  manage.HookState
	answer manage.Delivery // of the next test
	polls  int             // how often the state is asked for until the test has it
}

func (d *delivering) State(string, string) (manage.HookState, bool) {
	if d.answer.ID != "" {
		if d.polls--; d.polls < 0 {
			d.state.Last = append([]manage.Delivery{d.answer}, d.state.Last...)
			d.answer = manage.Delivery{}
		}
	}
	return d.state, true
}

func (d *delivering) Test(string, string) error {
	d.answer = manage.Delivery{ID: "msg_test", Events: 1, Attempt: 1, Status: 204}
	return nil
}

func TestWebhooksWholeLife(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t).ID
	address := serveAdmin(t, s, nil)
	run := func(args ...string) commandtest.Result {
		t.Helper()
		r := commandtest.Run(t, nil, append(args, "--address", address)...)
		if r.Err != nil {
			t.Fatalf("%s: %+v", args, r)
		}
		return r
	}
	hook := func() keystore.Hook {
		t.Helper()
		hooks := s.MustHold(t, app).Hooks
		if len(hooks) != 1 {
			t.Fatalf("%+v", hooks)
		}
		return hooks[0]
	}
	added := run("webhook", "add", app, "https://app.example.com/hooks", "--event", "channel.occupied", "--event", "channel.vacated", "--prefix", "orders.")
	first := hook()
	if want := "id      " + first.ID + "\nsecret  " + first.Secret + "\n"; added.Stdout != want {
		t.Errorf("it prints %s, want %s", added.Stdout, want)
	}
	commandtest.MustSay(t, added.Stderr, "The secret is shown only this once.")
	if !first.Enabled || strings.Join(first.Events, " ") != "channel.occupied channel.vacated" || first.Prefix != "orders." {
		t.Errorf("%+v", first)
	}
	listed := run("webhook", "list", app)
	commandtest.MustSay(t, listed.Stdout, `^WEBHOOK +EVENTS +PREFIX +SECRET ENDS IN +URL +STATE\nhook_\w+ +channel.occupied,channel.vacated +orders. +\S{4} +https://app.example.com/hooks +enabled\n$`)

	for _, c := range []struct {
		flags string
		want  func(keystore.Hook) bool
	}{
		{"--paused", func(h keystore.Hook) bool { return !h.Enabled && h.Prefix == "orders." && len(h.Events) == 2 }},
		{"--default-events", func(h keystore.Hook) bool { return !h.Enabled && h.Events == nil }},
		{"--event rejected --prefix=", func(h keystore.Hook) bool { return h.Events[0] == "rejected" && h.Prefix == "" }},
		{"--url http://10.0.0.7 --enabled", func(h keystore.Hook) bool { return h.Enabled && h.URL == "http://10.0.0.7" }},
	} {
		run(append([]string{"webhook", "set", app, first.ID}, strings.Fields(c.flags)...)...)
		if now := hook(); !c.want(now) || now.Secret != first.Secret {
			t.Errorf("%s leaves %+v", c.flags, now)
		}
	}

	rotated := run("webhook", "rotate", app, first.ID, "--overlap", "1h")
	second := hook()
	commandtest.MustSay(t, rotated.Stdout, "secret +whsec_")
	if !strings.Contains(rotated.Stdout, second.Secret) || second.Secret == first.Secret || second.Previous != first.Secret {
		t.Errorf("it prints %s, and keeps %+v", rotated.Stdout, second)
	}
	commandtest.MustSay(t, rotated.Stderr, "The old secret also signs for 1h.")

	run("webhook", "remove", app, first.ID)
	if hooks := s.MustHold(t, app).Hooks; hooks != nil {
		t.Errorf("after remove: %+v", hooks)
	}
	commandtest.MustFail(t, commandtest.Run(t, nil, "webhook", "show", app, first.ID, "--address", address), "show", "no webhook .*lists them by their ids")
}

func TestWebhookIsShownWithItsDeliveries(t *testing.T) {
	s := managetest.New(t)
	at := time.Date(2026, 11, 25, 9, 30, 0, 0, time.UTC)
	s.Gateway.Webhooks = &delivering{state: manage.HookState{
		Waiting: 120, Dropped: 7, FailingSince: at, NextAttempt: at.Add(time.Minute),
		Last: []manage.Delivery{
			{ID: "msg_2", Time: at, Events: 100, Attempt: 4, Status: 502, Error: "502 Bad Gateway", Took: 31 * time.Millisecond},
			{ID: "msg_1", Time: at, Events: 1, Attempt: 1, Status: 204, Took: time.Millisecond},
		},
	}}
	app := s.Create(t).ID
	address := serveAdmin(t, s, nil)
	var made manage.IssuedWebhook
	added := commandtest.Run(t, nil, "webhook", "add", app, "https://app.example.com/hooks", "--json", "--address", address)
	if err := json.Unmarshal([]byte(added.Stdout), &made); err != nil {
		t.Fatalf("%+v, %v", added, err)
	}
	shown := commandtest.Run(t, nil, "webhook", "show", app, made.ID, "--address", address)
	if shown.Err != nil || strings.Contains(shown.Said(), made.Secret) {
		t.Fatalf("%+v", shown)
	}
	commandtest.MustSay(t, shown.Stdout, `events +channel.occupied, .*rejected \(the default ones\)\nprefix +-\nstate +failing since 2026-11-25 09:30:00\n`)
	commandtest.MustSay(t, shown.Stdout, `waiting events +120\ndropped events +7\nnext attempt +2026-11-25 09:31:00\n`+
		`DELIVERY +TIME +EVENTS +ATTEMPT +STATUS +TOOK +ERROR\nmsg_2 +2026-11-25 09:30:00 +100 +4 +502 +31ms +502 Bad Gateway\nmsg_1 +2026-11-25 09:30:00 +1 +1 +204 +1ms +-\n$`)

	if _, err := s.Gateway.Registry.DisableHook(app, *s.MustHold(t, app).Hook(made.ID), "410 Gone"); err != nil {
		t.Fatal(err)
	}
	listed := commandtest.Run(t, nil, "webhook", "list", app, "--address", address)
	commandtest.MustSay(t, listed.Stdout, "disabled: 410 Gone\n$")
}

func TestTestOfAWebhookSaysHowItWasReceived(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t).ID
	address := serveAdmin(t, s, nil)
	hook, err := s.Gateway.Registry.AddHook(app, keystore.HookSpec{URL: "https://app.example.com/hooks"})
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"webhook", "test", app, hook.ID, "--address", address}
	commandtest.MustFail(t, commandtest.Run(t, nil, args...), "test", "have not started. Try again")

	gateway := &delivering{state: manage.HookState{Last: []manage.Delivery{{ID: "msg_0", Attempt: 1, Error: "earlier"}}}, polls: 2}
	s.Gateway.Webhooks = gateway
	result := commandtest.Run(t, nil, args...)
	if result.Err != nil {
		t.Fatal(result)
	}
	commandtest.MustSay(t, result.Stdout, `^DELIVERY .*\nmsg_test .* 204 +0s +-\n$`)

	gateway.state.Last, gateway.polls = nil, 1_000_000
	commandtest.MustFail(t, commandtest.Run(t, nil, append(args, "--wait", "0s")...), "test", "has not answered within 0s; see caddy realtime webhook show "+app)
}

func TestTestOfAWebhookFailsIfItWasNotReceived(t *testing.T) {
	s := managetest.New(t)
	app := s.Create(t).ID
	address := serveAdmin(t, s, nil)
	hook, err := s.Gateway.Registry.AddHook(app, keystore.HookSpec{URL: "https://app.example.com/hooks"})
	if err != nil {
		t.Fatal(err)
	}
	s.Gateway.Webhooks = refusing{&delivering{}}
	for _, more := range [][]string{nil, {"--json"}} {
		result := commandtest.Run(t, nil, append([]string{"webhook", "test", app, hook.ID, "--address", address}, more...)...)
		commandtest.MustSay(t, result.Stdout, "msg_test.*502")
		if result.Failure() != "it was not received: 502 Bad Gateway" {
			t.Errorf("%s: %+v", more, result)
		}
		s.Gateway.Webhooks = refusing{&delivering{}}
	}
}

// refusing is a delivering gateway whose receivers fail.
type refusing struct{ *delivering }

func (r refusing) Test(string, string) error {
	r.answer = manage.Delivery{ID: "msg_test", Events: 1, Attempt: 1, Status: 502, Error: "502 Bad Gateway"}
	return nil
}
