//go:build linux || darwin || freebsd

package keystore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"
)

// starve changes an app with no descriptor to spare until Badger needs its next
// file, and reports the outcome. Badger has one log of 4 MiB at a time, so the
// records are large.
func starve() error {
	store, err := OpenBadger(".", zap.NewNop())
	if err != nil {
		return err
	}
	registry, err := Open(store)
	if err != nil {
		return err
	}
	made, err := registry.Create("shop")
	if err != nil {
		return err
	}
	change := func(n int) error {
		_, err := registry.Update(made.App.ID, func(app *App) error {
			app.Name = fmt.Sprint("change ", n)
			app.AllowedOrigins = []string{strings.Repeat("o", 100<<10)}
			return nil
		})
		return err
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	enough := limit
	limit.Cur = 3 // fewer than are already open
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	var failure error
	n := 0
	for failure == nil && n < 200 {
		if failure = change(n + 1); failure == nil {
			n++
		}
	}
	fmt.Println("answered", n)
	fmt.Println("refused", failure)
	fmt.Println("and then", change(n+1))
	fmt.Println("check", registry.Check(context.Background()))
	if app, ok := registry.App(made.App.ID); !ok || app.Name != fmt.Sprint("change ", n) {
		return fmt.Errorf("in memory it is %v", app)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &enough); err != nil {
		return err
	}
	for begin := time.Now(); registry.Check(context.Background()) != nil; time.Sleep(10 * time.Millisecond) { // polling interval
		if time.Since(begin) > 20*time.Second {
			return errors.Join(errors.New("it was not reopened"), registry.Check(context.Background()))
		}
	}
	if err := change(n + 1); err != nil {
		return err
	}
	fmt.Println("again", n+1)
	return nil // without closing, as after kill -9
}

// If a file system rejects writes, Badger's mapped files would end the process.
func TestStoreWritesNothingWhereNothingCanBeWritten(t *testing.T) {
	dir := t.TempDir()
	store, err := OpenBadger(dir, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	store.mu.Lock()
	answered := store.answered.file
	store.answered.file, err = os.Open(answered.Name())
	store.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	defer answered.Close()
	err = store.change(func(*badger.Txn) error {
		t.Error("it is written")
		return nil
	}, false)
	if err == nil || !strings.Contains(err.Error(), dir) || !errors.Is(err, syscall.EBADF) {
		t.Errorf("the change: %v", err)
	}
	for begin := time.Now(); store.Check(t.Context()) != nil; time.Sleep(10 * time.Millisecond) { // polling interval
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("it was not reopened: %v", store.Check(t.Context()))
		}
	}
	if err := store.change(func(*badger.Txn) error { return nil }, false); err != nil {
		t.Errorf("a change, once it can be written: %v", err)
	}
}

// On its own, Badger would end the process at the change after the failed one,
// and likewise at each check of /realtime/health.
func TestStoreWithoutDescriptorsFailsAndComesBack(t *testing.T) {
	dir := t.TempDir()
	c := startChild(t, "starve", dir)
	said := make(map[string]string)
	for c.lines.Scan() {
		for _, word := range []string{"answered", "refused", "and then", "check", "again"} {
			if rest, ok := strings.CutPrefix(c.lines.Text(), word+" "); ok {
				said[word] = rest
			}
		}
	}
	if err := c.Wait(); err != nil {
		t.Fatalf("the process ended: %v; it said %q", err, said)
	}
	if !strings.Contains(said["refused"], "too many open files") {
		t.Errorf("the change that needed a file: %q", said["refused"])
	}
	for _, word := range []string{"and then", "check"} {
		if !strings.Contains(said[word], "reopened") {
			t.Errorf("%s: %q", word, said[word])
		}
	}
	apps, _ := open(t, dir).Apps("", 1)
	if len(apps) != 1 || apps[0].Name != "change "+said["again"] {
		t.Errorf("after a restart there is %v, and the last change that was answered is %s", apps, said["again"])
	}
}
