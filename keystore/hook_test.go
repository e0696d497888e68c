package keystore

import (
	"encoding/base64"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/random"
)

const hookURL = "https://app.example.com/hooks"

// addHook adds an enabled hook to an app.
func addHook(t *testing.T, r *Registry, app string) Hook {
	t.Helper()
	hook, err := r.AddHook(app, HookSpec{URL: hookURL, Enabled: true})
	if err != nil {
		t.Fatal(err)
	}
	return hook
}

func TestHookIsStoredWithASecretOfItsOwn(t *testing.T) {
	registry, store := inMemory(t)
	app := create(t, registry, "shop").App.ID
	first := addHook(t, registry, app)
	second, err := registry.AddHook(app, HookSpec{URL: "http://10.0.0.7", Events: []string{HookRejected}, Prefix: "orders."})
	if err != nil {
		t.Fatal(err)
	}
	if id, found := strings.CutPrefix(first.ID, "hook_"); !found || !random.IsText(id, 20) || first.ID == second.ID {
		t.Errorf("the ids %s, %s", first.ID, second.ID)
	}
	if key, err := HookKey(first.Secret); err != nil || len(key) != 32 || first.Secret == second.Secret {
		t.Errorf("the secrets %s, %s: %v", first.Secret, second.Secret, err)
	}
	if !first.Enabled || second.Enabled || second.Prefix != "orders." || !slices.Equal(second.Events, []string{HookRejected}) {
		t.Errorf("%+v, %+v", first, second)
	}
	kept, err := store.Load(t.Context())
	if err != nil || len(kept) != 1 || !reflect.DeepEqual(kept[0].Hooks, []Hook{first, second}) {
		t.Errorf("the store has %+v, %v", kept, err)
	}
}

func TestAppHasAtMostTenHooks(t *testing.T) {
	registry, _ := inMemory(t)
	app := create(t, registry, "shop").App.ID
	var hooks []Hook
	for range MaxHooks {
		hooks = append(hooks, addHook(t, registry, app))
	}
	if _, err := registry.AddHook(app, HookSpec{URL: hookURL}); !errors.Is(err, ErrTooManyHooks) {
		t.Errorf("one more: %v", err)
	}
	if _, err := registry.RemoveHook(app, hooks[4].ID); err != nil {
		t.Fatal(err)
	}
	hooks = append(slices.Delete(hooks, 4, 5), addHook(t, registry, app))
	if now, _ := registry.App(app); !reflect.DeepEqual(now.Hooks, hooks) {
		t.Errorf("%+v", now.Hooks)
	}
}

func TestHookThatIsNotThereCannotBeChanged(t *testing.T) {
	registry, _ := inMemory(t)
	app := create(t, registry, "shop").App.ID
	none := func(*Hook) error { t.Error("called"); return nil }
	for _, c := range []struct {
		app  string
		want error
	}{{"app_none", ErrNotFound}, {app, ErrHookNotFound}} {
		_, update := registry.UpdateHook(c.app, "hook_none", none)
		_, rotate := registry.RotateHookSecret(c.app, "hook_none", 0)
		_, disable := registry.DisableHook(c.app, Hook{ID: "hook_none"}, "410 Gone")
		_, remove := registry.RemoveHook(c.app, "hook_none")
		for _, err := range []error{update, rotate, disable, remove} {
			if !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", c.app, err, c.want)
			}
		}
	}
}

func TestChangedHookKeepsWhatItIs(t *testing.T) {
	registry := open(t, t.TempDir())
	app := create(t, registry, "shop").App.ID
	before := addHook(t, registry, app)
	other := addHook(t, registry, app)
	after, err := registry.UpdateHook(app, before.ID, func(h *Hook) error {
		*h = Hook{URL: "http://other", Events: []string{HookClientEvent}, Prefix: "a", Secret: "whsec_"}
		return nil
	})
	want := before
	want.URL, want.Events, want.Prefix, want.Enabled = "http://other", []string{HookClientEvent}, "a", false
	if err != nil || !reflect.DeepEqual(after, want) {
		t.Errorf("%+v, %v, want %+v", after, err, want)
	}
	now, _ := registry.App(app)
	if !reflect.DeepEqual(now.Hooks, []Hook{want, other}) {
		t.Errorf("%+v", now.Hooks)
	}
	mistake := errors.New("a mistake")
	if _, err := registry.UpdateHook(app, other.ID, func(h *Hook) error { h.URL = "x"; return mistake }); !errors.Is(err, mistake) {
		t.Error(err)
	}
	if _, err := registry.UpdateHook(app, other.ID, func(h *Hook) error { h.Events = []string{"everything"}; return nil }); err == nil {
		t.Error("an unknown event is stored")
	}
	if again, _ := registry.App(app); again != now {
		t.Errorf("a change that failed leaves %+v", again.Hooks)
	}
}

func TestDisabledHookKeepsTheProblemUntilItIsEnabled(t *testing.T) {
	registry, _ := inMemory(t)
	app := create(t, registry, "shop").App.ID
	called := addHook(t, registry, app)
	disabled, err := registry.DisableHook(app, called, "410 Gone")
	if err != nil || disabled.Enabled || disabled.Problem != "410 Gone" {
		t.Errorf("%+v, %v", disabled, err)
	}
	enabled, err := registry.UpdateHook(app, called.ID, func(h *Hook) error { h.Enabled = true; return nil })
	if err != nil || !enabled.Enabled || enabled.Problem != "" {
		t.Errorf("%+v, %v", enabled, err)
	}

	// What an earlier URL answered says nothing about this one.
	if _, err := registry.UpdateHook(app, called.ID, func(h *Hook) error { h.URL = "https://other.example"; return nil }); err != nil {
		t.Fatal(err)
	}
	if moved, err := registry.DisableHook(app, called, "410 Gone"); err != nil || !moved.Enabled {
		t.Errorf("%+v, %v", moved, err)
	}
	paused, err := registry.UpdateHook(app, called.ID, func(h *Hook) error { h.Enabled = false; return nil })
	if err != nil {
		t.Fatal(err)
	}
	if paused, err = registry.DisableHook(app, paused, "410 Gone"); err != nil || paused.Problem != "" {
		t.Errorf("an operator disabled it, and it has the problem %q, %v", paused.Problem, err)
	}
}

func TestPreviousSecretSignsForTheOverlapAndNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry, _ := inMemory(t)
		app := create(t, registry, "shop").App.ID
		first := addHook(t, registry, app)
		second, err := registry.RotateHookSecret(app, first.ID, time.Hour)
		if err != nil || second.Secret == first.Secret {
			t.Fatal(second, err)
		}
		now := time.Now()
		for after, want := range map[time.Duration][]string{
			0: {second.Secret, first.Secret}, time.Hour - 1: {second.Secret, first.Secret}, time.Hour: {second.Secret},
		} {
			if got := second.Secrets(now.Add(after)); !slices.Equal(got, want) {
				t.Errorf("%s later: %v, want %v", after, got, want)
			}
		}
		third, err := registry.RotateHookSecret(app, first.ID, time.Minute)
		if got := third.Secrets(now); err != nil || !slices.Equal(got, []string{third.Secret, second.Secret}) {
			t.Errorf("%v, %v", got, err)
		}
		fourth, err := registry.RotateHookSecret(app, first.ID, 0)
		if got := fourth.Secrets(now); err != nil || !slices.Equal(got, []string{fourth.Secret}) || fourth.Previous != "" {
			t.Errorf("%v, %v", got, err)
		}
	})
}

func TestConnectionsAreNotAmongTheDefaultEvents(t *testing.T) {
	if events := DefaultHookEvents(); len(events) != len(HookEvents())-2 || slices.Contains(events, HookConnectionOpened) {
		t.Errorf("by default %v", events)
	}
}

func TestOnlySecretsOfHooksAreKeys(t *testing.T) {
	for _, secret := range []string{
		"", "whsec_", "whsec_AAAA", "whsec_!", base64.StdEncoding.EncodeToString(make([]byte, 32)),
		"whsec_" + base64.RawStdEncoding.EncodeToString(make([]byte, 32)), "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 33)),
	} {
		if key, err := HookKey(secret); err == nil {
			t.Errorf("%q is the key %x", secret, key)
		}
	}
	if key, err := HookKey("whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))); err != nil || string(key) != strings.Repeat("k", 32) {
		t.Errorf("%x, %v", key, err)
	}
}
