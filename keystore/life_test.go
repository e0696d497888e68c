package keystore

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// publishKey returns the app's first key, which Create created.
func publishKey(created Created) string { return created.App.Keys[0].ID }

func TestAddedKeyIsAsGoodAsTheFirst(t *testing.T) {
	registry, store := inMemory(t)
	made := create(t, registry, "shop")
	issued, err := registry.AddKey(made.App.ID, KeySpec{Kind: Publish, Label: "  worker "})
	if err != nil {
		t.Fatal(err)
	}
	if issued.Key.Label != "worker" || issued.Key.Kind != Publish || len(issued.App.Keys) != 3 {
		t.Errorf("%+v", issued.Key)
	}
	for _, secret := range []string{made.PublishKey, issued.Secret} {
		if _, err := issued.App.Check(Publish, secret, time.Now()); err != nil {
			t.Error(err)
		}
	}
	kept, err := store.Load(t.Context())
	if err != nil || len(kept) != 1 || len(kept[0].Keys) != 3 {
		t.Errorf("the store has %+v, %v", kept, err)
	}
}

func TestRotatedKeyIsGoodForTheOverlapAndNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry, _ := inMemory(t)
		made := create(t, registry, "shop")
		issued, err := registry.RotateKey(made.App.ID, publishKey(made), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		app, now := issued.App, time.Now()
		if next := app.NextExpiry(now); !next.Equal(now.Add(time.Hour)) {
			t.Errorf("the next expiry is %v", next)
		}
		for after, want := range map[time.Duration]error{0: nil, time.Hour - 1: nil, time.Hour: ErrKeyExpired} {
			if _, err := app.Check(Publish, made.PublishKey, now.Add(after)); !errors.Is(err, want) {
				t.Errorf("the old key %v later: %v", after, err)
			}
			if _, err := app.Check(Publish, issued.Secret, now.Add(after)); err != nil {
				t.Errorf("the new key %v later: %v", after, err)
			}
		}
		if next := app.NextExpiry(now.Add(time.Hour)); !next.IsZero() {
			t.Errorf("the next expiry is %v", next)
		}
		// A longer overlap extends nothing, a shorter one ends the key earlier.
		for _, overlap := range []time.Duration{2 * time.Hour, time.Minute} {
			if issued, err = registry.RotateKey(made.App.ID, publishKey(made), overlap); err != nil {
				t.Fatal(err)
			}
		}
		if next := issued.App.NextExpiry(now); !next.Equal(now.Add(time.Minute)) {
			t.Errorf("the next expiry is %v", next)
		}
		time.Sleep(time.Minute)
		if _, err := registry.RotateKey(made.App.ID, publishKey(made), time.Hour); !errors.Is(err, ErrKeyExpired) {
			t.Errorf("rotating an expired key: %v", err)
		}
	})
}

func TestRevokedKeyStaysRevoked(t *testing.T) {
	registry, _ := inMemory(t)
	made := create(t, registry, "shop")
	app, err := registry.RevokeKey(made.App.ID, publishKey(made))
	if err != nil {
		t.Fatal(err)
	}
	again, err := registry.RevokeKey(made.App.ID, publishKey(made))
	if err != nil || !again.Keys[0].Revoked.Equal(app.Keys[0].Revoked) {
		t.Errorf("revoked again: %v, %v", again.Keys[0].Revoked, err)
	}
	if _, err := again.Check(Publish, made.PublishKey, time.Now()); !errors.Is(err, ErrKeyRevoked) {
		t.Errorf("the revoked key: %v", err)
	}
	if _, err := registry.RotateKey(made.App.ID, publishKey(made), 0); !errors.Is(err, ErrKeyRevoked) {
		t.Errorf("rotating a revoked key: %v", err)
	}
}

func TestBadChangesOfKeysChangeNothing(t *testing.T) {
	registry, _ := inMemory(t)
	made := create(t, registry, "shop")
	id := made.App.ID
	for name, change := range map[string]struct {
		do   func() error
		want error
	}{
		"another app": {func() error { _, err := registry.AddKey("app_none", KeySpec{Kind: Publish, Label: ""}); return err }, ErrNotFound},
		"two lines":   {func() error { _, err := registry.AddKey(id, KeySpec{Kind: Publish, Label: "a\nb"}); return err }, ErrInvalidLabel},
		"a long label": {func() error {
			_, err := registry.AddKey(id, KeySpec{Kind: Publish, Label: strings.Repeat("é", 101)})
			return err
		}, ErrInvalidLabel},
		"rotating none":   {func() error { _, err := registry.RotateKey(id, "key_none", 0); return err }, ErrKeyNotFound},
		"revoking none":   {func() error { _, err := registry.RevokeKey(id, "key_none"); return err }, ErrKeyNotFound},
		"in no app":       {func() error { _, err := registry.RevokeKey("app_none", "key_none"); return err }, ErrNotFound},
		"rotating in one": {func() error { _, err := registry.RotateKey("app_none", publishKey(made), 0); return err }, ErrNotFound},
	} {
		if err := change.do(); !errors.Is(err, change.want) {
			t.Errorf("%s: %v, want %v", name, err, change.want)
		}
	}
	if app, _ := registry.App(id); app != made.App {
		t.Error("the app was changed")
	}
}

func TestKeysAreBounded(t *testing.T) {
	registry, _ := inMemory(t)
	made := create(t, registry, "shop")
	id := made.App.ID
	for i := range maxKeys - 2 {
		if _, err := registry.AddKey(id, KeySpec{Kind: Subscribe, Label: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := registry.AddKey(id, KeySpec{Kind: Subscribe, Label: ""}); !errors.Is(err, ErrTooManyKeys) {
		t.Errorf("one key too many: %v", err)
	}
	// Invalid keys do not count, and the oldest of them are dropped.
	var last string
	for range maxDead + 10 {
		if _, err := registry.RevokeKey(id, publishKey(made)); err != nil {
			t.Fatal(err)
		}
		app, _ := registry.App(id)
		last = publishKey(made)
		issued, err := registry.AddKey(id, KeySpec{Kind: Publish, Label: ""})
		if err != nil {
			t.Fatal(err)
		}
		made = Created{App: &App{ID: app.ID, Keys: []Key{issued.Key}}}
	}
	app, _ := registry.App(id)
	if n := len(app.Keys); n != maxKeys+maxDead {
		t.Errorf("%d keys are known, want %d", n, maxKeys+maxDead)
	}
	if app.key(last) == nil {
		t.Error("the key that was revoked last is forgotten")
	}
	if good := app.good(time.Now()); good != maxKeys {
		t.Errorf("%d keys are good, want %d", good, maxKeys)
	}
}
