package keystore

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"
)

// badgerToCopy opens a store in Badger, which is closed with the test.
func badgerToCopy(t *testing.T, dir string) *Badger {
	t.Helper()
	store, err := OpenBadgerToCopy(dir, zaptest.NewLogger(t), true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func put(t *testing.T, to Store, apps ...*App) {
	t.Helper()
	for _, app := range apps {
		if err := to.Put(t.Context(), nil, app); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCopyHasEverythingOfItsSource(t *testing.T) {
	from, to := badgerToCopy(t, t.TempDir()), badgerToCopy(t, t.TempDir())
	app := full()
	at := time.Date(2026, 3, 4, 5, 6, 0, 0, time.UTC)
	put(t, from, app, &App{ID: "app_empty"})
	if err := from.PutUsed(t.Context(), app.ID, map[string]time.Time{app.Keys[0].ID: at}); err != nil {
		t.Fatal(err)
	}
	put(t, to, &App{ID: "app_empty"}) // as after a copy that was interrupted
	plan, err := PlanCopy(t.Context(), from, to)
	if err != nil {
		t.Fatal(err)
	}
	want := Counts{Apps: 1, Keys: len(app.Keys), Rules: 2, Webhooks: 2, RevokedUsers: 1}
	if plan.Missing != want || plan.Present != (Counts{Apps: 1}) {
		t.Errorf("%+v", plan)
	}
	if err := plan.Copy(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	got, err := to.Get(t.Context(), app.ID)
	if err != nil || !same(got, app) {
		t.Errorf("%+v, %v", got, err)
	}
	if used, err := to.LoadUsed(t.Context()); err != nil || !used[app.Keys[0].ID].Equal(at) {
		t.Errorf("%v, %v", used, err)
	}
	if plan, err = PlanCopy(t.Context(), from, to); err != nil || plan.Missing != (Counts{}) || plan.Present.Apps != 2 {
		t.Errorf("again: %+v, %v", plan, err)
	}
}

func TestCopyIsRefusedIfItWouldReplaceOrMixApps(t *testing.T) {
	for name, there := range map[string]*App{
		"another app":                     {ID: "app_other"},
		"the same app, but other content": {ID: "app_1", Name: "b"},
	} {
		from, to := &memory{apps: map[string]*App{"app_1": {ID: "app_1", Name: "a"}}}, &memory{apps: map[string]*App{there.ID: there}}
		_, err := PlanCopy(t.Context(), from, to)
		if err == nil || !strings.Contains(err.Error(), there.ID) || !strings.Contains(err.Error(), "empty keystore") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCopyNoticesThatItsSourceWasChanged(t *testing.T) {
	from, to := &memory{apps: map[string]*App{"app_1": {ID: "app_1", Name: "a"}}}, &memory{apps: map[string]*App{}}
	plan, err := PlanCopy(t.Context(), from, to)
	if err != nil {
		t.Fatal(err)
	}
	from.apps["app_1"] = &App{ID: "app_1", Name: "b"}
	if err := plan.Copy(t.Context(), from, to); err == nil || !strings.Contains(err.Error(), "source was changed") || !strings.Contains(err.Error(), "app_1") {
		t.Error(err)
	}
}

func TestSourceThatDoesNotExistIsNotCreated(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	if _, err := OpenBadgerToCopy(dir, zaptest.NewLogger(t), false); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if found, _ := filepath.Glob(dir); found != nil {
		t.Error("the directory was created")
	}
}
