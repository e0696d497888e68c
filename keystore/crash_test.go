package keystore

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

// createForEver creates, changes and deletes apps from several goroutines, and
// reports each change once it is acknowledged.
func createForEver() error {
	store, err := OpenBadger(".", zap.NewNop())
	if err != nil {
		return err
	}
	registry, err := Open(store)
	if err != nil {
		return err
	}
	failed := make(chan error)
	for range 4 {
		go func() {
			for {
				if err := changeThree(registry); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	return <-failed
}

func changeThree(registry *Registry) error {
	kept, err := registry.Create("kept")
	if err != nil {
		return err
	}
	fmt.Println("created", kept.App.ID, kept.PublishKey)
	_, err = registry.Update(kept.App.ID, func(app *App) error {
		app.Keys[0].Revoked = time.Now()
		return nil
	})
	if err != nil {
		return err
	}
	fmt.Println("revoked", kept.App.ID, kept.PublishKey)
	gone, err := registry.Create("gone")
	if err != nil {
		return err
	}
	if err := registry.Delete(gone.App.ID); err != nil {
		return err
	}
	fmt.Println("deleted", gone.App.ID, gone.PublishKey)
	return nil
}

// Every acknowledged change survives kill -9, however soon it happens, and
// however often.
func TestAnsweredChangesSurviveKill(t *testing.T) {
	dir := t.TempDir()
	answered := map[string][]string{} // change → ids and keys
	for round := range 5 {
		c := startChild(t, "create", dir)
		for n := 0; c.lines.Scan(); n++ {
			change := strings.Fields(c.lines.Text())
			if len(change) == 3 { // otherwise the kill truncated the line
				answered[change[0]] = append(answered[change[0]], change[1]+" "+change[2])
			}
			if n == 20+round*37 {
				_ = c.Process.Kill()
			}
		}
		_ = c.Wait()
		registry := open(t, dir)
		for _, change := range []string{"created", "revoked", "deleted"} {
			if len(answered[change]) <= round {
				t.Fatalf("round %d: only %d changes of the kind %s", round, len(answered[change]), change)
			}
			for _, app := range answered[change] {
				id, key, _ := strings.Cut(app, " ")
				checkAfterKill(t, registry, change, id, key)
			}
		}
		if err := registry.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func checkAfterKill(t *testing.T, registry *Registry, change, id, key string) {
	t.Helper()
	app, ok := registry.App(id)
	if ok != (change != "deleted") {
		t.Fatalf("%s was %s: there is %v", id, change, app)
	}
	if change == "deleted" {
		return
	}
	_, err := app.Check(Publish, key, time.Now())
	if change == "revoked" && !errors.Is(err, ErrKeyRevoked) {
		t.Fatalf("%s: the revoked key gets %v", id, err)
	}
	if change == "created" && err != nil && !errors.Is(err, ErrKeyRevoked) {
		t.Fatalf("%s: the key gets %v", id, err)
	}
}

func TestSecondProcessGetsAdvice(t *testing.T) {
	dir := t.TempDir()
	c := startChild(t, "hold", dir)
	if !c.lines.Scan() {
		t.Fatal("the child did not open the store")
	}
	wantRefusal(t, dir, dir, "in use", "caddy reload", "keystore badger <dir>", "stop that Caddy to copy")
}

// Two configurations of one process must not either.
func TestSecondOpeningGetsAdvice(t *testing.T) {
	dir := t.TempDir()
	store, err := OpenBadger(dir, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, dir, "in use")
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}
