package webhook

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/whsec"
)

func TestRemovedHookLosesItsQueue(t *testing.T) {
	r := newReceiver(t, answering(http.StatusInternalServerError))
	dir := t.TempDir()
	m := start(t, Options{Dir: dir})
	other := hookTo(r.URL)
	other.ID, other.App = "hook_2", "other"
	set(t, m, hookTo(r.URL), other)
	emit(m, "shop", 0, 3)
	emit(m, "other", 0, 3)
	until(t, "attempts", func() bool { return len(r.all()) > 1 })
	path := m.find("shop", "hook_1").journal.path
	set(t, m, other)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its journal: %v", err)
	}
	if _, ok := m.State("shop", "hook_1"); ok || m.Wanted("shop", MemberJoined, "") || m.Stats().Waiting != 3 {
		t.Errorf("it is still there: %+v", m.Stats())
	}
	if err := m.Test("shop", "hook_1"); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	left := m.find("other", "hook_2").journal.path
	closeNow(t, m)
	again := reopen(t, Options{Dir: dir})
	set(t, again) // removed while the gateway was down
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the other's journal: %v", err)
	}
}

// startPostponed starts a manager that has not been able to send three events, and tries
// again in an hour: no attempt is under way.
func startPostponed(t *testing.T, dir string, hook Hook) *Manager {
	t.Helper()
	timing := quickly
	timing.FirstRetry, timing.LastRetry = time.Hour, time.Hour
	m := start(t, Options{Dir: dir, Timing: timing})
	set(t, m, hook)
	emit(m, "shop", 0, 3)
	until(t, "next attempt", func() bool { s, _ := m.State("shop", hook.ID); return time.Until(s.NextAttempt) > 50*time.Minute })
	return m
}

func TestDisabledHookKeepsItsQueue(t *testing.T) {
	r := newReceiver(t, answering(http.StatusInternalServerError))
	dir := t.TempDir()
	hook := hookTo(r.URL)
	m := startPostponed(t, dir, hook)
	hook.Enabled = false
	set(t, m, hook)
	r.answers(nil)
	emit(m, "shop", 3, 3)
	if err := m.Test("shop", hook.ID); !errors.Is(err, ErrDisabled) {
		t.Error(err)
	}
	closeNow(t, m)
	again := reopen(t, Options{Dir: dir})
	set(t, again, hook)
	emit(again, "shop", 6, 3)
	if s, _ := again.State("shop", hook.ID); s.Waiting != 3 || len(r.events()) > 0 {
		t.Errorf("%+v, %v", s, r.events())
	}
	hook.Enabled = true
	set(t, again, hook)
	emit(again, "shop", 9, 1)
	events := r.untilEvents(5)
	checkUsers(t, events[:3], 0)
	if events[3].Type != StateReset || events[4].User != "9" {
		t.Errorf("%+v", events[3:])
	}
}

func TestChangedURLIsUsedAtOnce(t *testing.T) {
	down := newReceiver(t, answering(http.StatusInternalServerError))
	up := newReceiver(t, nil)
	hook := hookTo(down.URL)
	m := startPostponed(t, t.TempDir(), hook)
	hook.URL = up.URL
	set(t, m, hook)
	checkUsers(t, up.untilEvents(3), 0)
	if before, after := down.all()[0], up.all()[0]; before.id != after.id || before.body != after.body {
		t.Errorf("another batch: %+v, %+v", before, after)
	}
}

func TestHooksChangeWhileTheySend(t *testing.T) {
	r := newReceiver(t, nil)
	m := start(t, Options{})
	hook := hookTo(r.URL)
	set(t, m, hook)
	for i := 0; i < 2000; i += 100 {
		emit(m, "shop", i, 100)
		hook.Secrets = [][]byte{[]byte(itoa(i)), testSecret}
		other := hookTo(r.URL)
		other.ID, other.App, other.Enabled = "hook_"+itoa(i), "other", i%200 == 0
		set(t, m, hook, other)
		emit(m, "other", 0, 10)
	}
	set(t, m, hook)
	until(t, "everything", func() bool { return m.pending() == 0 && m.Stats().Waiting == 0 })
	var users []arrivedEvent
	for _, a := range r.all() {
		if !a.signedBy(testSecret) {
			t.Errorf("not signed: %+v", a)
		}
		if body := a.decode(t); body.App == "shop" {
			users = append(users, body.Events...)
		}
	}
	checkUsers(t, users, 0)
	account(t, users, 2000)
}

func TestBothSecretsSignWhileOneRotates(t *testing.T) {
	r := newReceiver(t, nil)
	m := start(t, Options{})
	hook := hookTo(r.URL)
	fresh, _ := whsec.New()
	for i, secrets := range [][][]byte{{testSecret}, {fresh, testSecret}, {fresh}} {
		hook.Secrets = secrets
		set(t, m, hook)
		emit(m, "shop", i, 1)
		r.untilEvents(i + 1)
		a := r.all()[i]
		if a.signedBy(testSecret) != (i < 2) || a.signedBy(fresh) != (i > 0) || strings.Count(a.signature, "v1,") != len(secrets) {
			t.Errorf("%d: %s", i, a.signature)
		}
	}
	if !strings.HasPrefix(r.all()[1].signature, signedPrefix(r.all()[1], fresh)) {
		t.Error("the newest secret's signature is not the first")
	}
}

func signedPrefix(a arrival, secret []byte) string {
	first, _, _ := strings.Cut(a.signature, " ")
	a.signature = first
	if a.signedBy(secret) {
		return first
	}
	return "another"
}

func TestInvalidHooksAreRefusedAndTheOthersApply(t *testing.T) {
	r := newReceiver(t, nil)
	m := start(t, Options{})
	set(t, m, hookTo(r.URL))
	for want, change := range map[string]func(*Hook){
		"hook ID":            func(h *Hook) { h.ID = "../etc" },
		"no app":             func(h *Hook) { h.ID, h.App = "hook_3", "" },
		"no secret":          func(h *Hook) { h.ID, h.Secrets = "hook_3", nil },
		"unknown event":      func(h *Hook) { h.ID, h.Events = "hook_3", []string{"channel.occupied", "member.danced"} },
		"is there twice":     func(*Hook) {},
		`"" must be 1 to 64`: func(h *Hook) { h.ID = "" },
	} {
		bad := hookTo(r.URL)
		change(&bad)
		if err := m.Set([]Hook{hookTo(r.URL), bad}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	invalid := hookTo(r.URL)
	invalid.Secrets = nil
	if err := m.Set([]Hook{invalid}); err == nil {
		t.Error("a hook without a secret is accepted")
	}
	emit(m, "shop", 0, 1)
	checkUsers(t, r.untilEvents(1), 0) // as it was
}

func TestOperatorSeesDeliveries(t *testing.T) {
	r := newReceiver(t, answering(http.StatusTeapot))
	m := start(t, Options{})
	set(t, m, hookTo(r.URL))
	must(t, m.Test("shop", "hook_1"))
	until(t, "attempts", func() bool { s, _ := m.State("shop", "hook_1"); return len(s.Deliveries) == maxDeliveries })
	r.answers(nil)
	until(t, "receipt", func() bool { return m.Stats().Delivered == 1 })
	s, _ := m.State("shop", "hook_1")
	if len(s.Deliveries) != maxDeliveries || s.Waiting != 0 || !s.Failing.IsZero() || !s.NextAttempt.IsZero() {
		t.Errorf("%+v", s)
	}
	last, before := s.Deliveries[0], s.Deliveries[1]
	if last.Status != 204 || last.Error != "" || last.Events != 1 || last.Attempt != before.Attempt+1 || last.ID != before.ID || last.Time.Before(before.Time) {
		t.Errorf("%+v after %+v", last, before)
	}
	if before.Status != 418 || before.Error != "the receiver answered 418 I'm a teapot" {
		t.Errorf("%+v", before)
	}
	if e := r.events(); len(e) != 1 || e[0].Type != Test || m.Stats().Failed < maxDeliveries-1 {
		t.Errorf("%+v %+v", e, m.Stats())
	}
	if _, ok := m.State("other", "hook_1"); ok {
		t.Error("another app sees the hook")
	}
}
