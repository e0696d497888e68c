package keystore

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestUseOfAKeyIsKnownAtOnceAndWrittenDownWithinAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry, store := inMemory(t)
		made := create(t, registry, "shop")
		app, key := made.App, &made.App.Keys[0]
		if at := registry.LastUsed(key.ID); !at.IsZero() {
			t.Errorf("a new key was used %v", at)
		}
		begin := time.Now()
		registry.Used(app, key, begin)
		if at := registry.LastUsed(key.ID); !at.Equal(begin.Truncate(time.Minute)) {
			t.Errorf("used %v, want %v", at, begin)
		}
		written := func(then error) map[string]time.Time { // and makes the store fail
			registry.mu.Lock()
			defer registry.mu.Unlock()
			store.fail = then
			return store.used[app.ID]
		}
		if used := written(errors.New("full")); used != nil {
			t.Errorf("written down at once: %v", used)
		}
		time.Sleep(keepUsed + time.Second)
		if used := written(nil); used != nil {
			t.Errorf("a store that fails has kept %v", used)
		}
		time.Sleep(keepUsed)
		if used := written(nil); len(used) != 1 || !used[key.ID].Equal(begin.Truncate(time.Minute)) {
			t.Errorf("written down: %v", used)
		}
		registry.Used(app, key, begin.Add(-time.Hour)) // the clock was set back
		if at := registry.LastUsed(key.ID); !at.Equal(begin.Truncate(time.Minute)) {
			t.Errorf("used %v, want %v", at, begin)
		}
		if err := registry.Delete(app.ID); err != nil {
			t.Fatal(err)
		}
		if at := registry.LastUsed(key.ID); !at.IsZero() {
			t.Errorf("a deleted key was used %v", at)
		}
	})
}

func TestUseSurvivesReopeningAndIsNoReasonNotToStart(t *testing.T) {
	dir := t.TempDir()
	registry := open(t, dir)
	made := create(t, registry, "shop")
	now := time.Now()
	registry.Used(made.App, &made.App.Keys[1], now)
	if err := registry.Close(); err != nil {
		t.Fatal(err)
	}
	reopened := open(t, dir)
	if at := reopened.LastUsed(made.App.Keys[1].ID); !at.Equal(now.Truncate(time.Minute)) {
		t.Errorf("used %v, want %v", at, now)
	}
	if err := reopened.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{usedPrefix + made.App.ID: "{"})
	damaged := open(t, dir)
	if _, ok := damaged.App(made.App.ID); !ok {
		t.Error("the app is gone")
	}
	if at := damaged.LastUsed(made.App.Keys[1].ID); !at.IsZero() {
		t.Errorf("used %v, of a damaged record", at)
	}
}
