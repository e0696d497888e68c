package keystore

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"
)

// hangs is a store on a disk that answers no write until it thaws.
type hangs struct {
	*memory
	begun, thaw, ended chan struct{}
}

func (h hangs) Close() error {
	close(h.ended)
	return nil
}

func (h hangs) Put(ctx context.Context, before, after *App) error {
	close(h.begun)
	<-h.thaw
	return h.memory.Put(ctx, before, after)
}

func TestCloseDoesNotWaitForAStoreThatHangs(t *testing.T) {
	store := hangs{&memory{apps: map[string]*App{}}, make(chan struct{}), make(chan struct{}), make(chan struct{})}
	registry, err := Open(store)
	if err != nil {
		t.Fatal(err)
	}
	registry.closeLimit = time.Millisecond
	created := make(chan error, 1)
	go func() {
		_, err := registry.Create("shop")
		created <- err
	}()
	<-store.begun
	if err := registry.Close(); err == nil || !strings.Contains(err.Error(), "has not answered for") || !strings.Contains(err.Error(), "ms") {
		t.Errorf("closed with %v", err)
	}
	if err := registry.Close(); err != nil {
		t.Errorf("closed again with %v", err)
	}
	close(store.thaw) // the abandoned Close continues
	if err := <-created; err != nil {
		t.Errorf("the change that hung: %v", err)
	}
	<-registry.usage.ended
	if _, err := registry.Create("shop"); !errors.Is(err, ErrClosed) {
		t.Errorf("a change after that: %v", err)
	}
	<-store.ended
}

func TestUseOfForgottenKeysIsForgotten(t *testing.T) {
	registry, store := inMemory(t)
	app := create(t, registry, "shop").App
	old := app.Keys[0]
	for i := range 3 * maxDead {
		issued, err := registry.AddKey(app.ID, KeySpec{Kind: Publish, Label: strconv.Itoa(i)})
		if err != nil {
			t.Fatal(err)
		}
		registry.Used(issued.App, issued.App.key(issued.Key.ID), time.Now())
		if app, err = registry.RevokeKey(app.ID, issued.Key.ID); err != nil {
			t.Fatal(err)
		}
	}
	before := app
	if _, err := registry.RevokeKey(app.ID, old.ID); err != nil {
		t.Fatal(err)
	}
	count := func() (n int) {
		registry.usage.minutes.Range(func(_, _ any) bool { n++; return true })
		return n
	}
	app, _ = registry.App(app.ID)
	if n := count(); n > len(app.Keys) {
		t.Errorf("the use of %d keys is kept for %d keys", n, len(app.Keys))
	}
	forgotten := &Key{ID: "key_forgotten"} // used by a request that began before
	registry.Used(before, forgotten, time.Now())
	if at := registry.LastUsed(forgotten.ID); !at.IsZero() {
		t.Errorf("a key that is not there was used %v", at)
	}
	store.used["app_gone"] = map[string]time.Time{"key_gone": time.Now()} // as an older version stored it
	again, err := Open(store)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}()
	if at := again.LastUsed("key_gone"); !at.IsZero() {
		t.Errorf("a key that is not there was used %v", at)
	}
}
