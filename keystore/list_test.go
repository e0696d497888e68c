package keystore

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// names returns the names of all apps, page by page, and calls during between
// two pages.
func names(t *testing.T, r *Registry, limit int, during func()) (names []string) {
	t.Helper()
	for after, pages := "", 0; ; pages++ {
		apps, next := r.Apps(after, limit)
		for _, app := range apps {
			names = append(names, app.Name)
		}
		if len(apps) > limit || pages > 1000 {
			t.Fatalf("%d apps on page %d", len(apps), pages)
		}
		if next == "" {
			return names
		}
		after = next
		during()
	}
}

func TestPagesHoldAllOldestFirst(t *testing.T) {
	registry, _ := inMemory(t)
	if apps, next := registry.Apps("", 10); len(apps) != 0 || next != "" {
		t.Errorf("%v, %q from an empty registry", apps, next)
	}
	var want []string
	for i := range 20 {
		want = append(want, fmt.Sprint(i))
		create(t, registry, want[i])
	}
	for _, limit := range []int{1, 3, 10, 19, 20, 21, 1 << 62} {
		if got := names(t, registry, limit, func() {}); !slices.Equal(got, want) {
			t.Errorf("by %d: %v", limit, got)
		}
	}
}

func TestAppsOfOneTimeAreListedOnce(t *testing.T) {
	store := &memory{apps: map[string]*App{}}
	for i := range 10 {
		id := fmt.Sprint("app_", i)
		store.apps[id] = &App{ID: id, Name: id, Created: time.Unix(1, 5).In(time.FixedZone("", 3600))}
	}
	registry, err := Open(store)
	if err != nil {
		t.Fatal(err)
	}
	if got := names(t, registry, 3, func() {}); len(slices.Compact(got)) != 10 {
		t.Error(got)
	}
}

// Whatever apps are created or deleted in the meantime, all others are listed
// exactly once.
func TestPagesAreStable(t *testing.T) {
	registry, _ := inMemory(t)
	var stay []string
	var leave []string
	for i := range 60 {
		made := create(t, registry, fmt.Sprint(i))
		if i%3 > 0 {
			leave = append(leave, made.App.ID)
		} else {
			stay = append(stay, made.App.Name)
		}
	}
	rand.Shuffle(len(leave), func(i, k int) { leave[i], leave[k] = leave[k], leave[i] })
	got := names(t, registry, 2, func() {
		if len(leave) > 2 {
			for range 3 {
				if err := registry.Delete(leave[0]); err != nil {
					t.Fatal(err)
				}
				leave = leave[1:]
			}
			create(t, registry, "new")
		}
	})
	for _, name := range stay {
		if n := len(slices.DeleteFunc(slices.Clone(got), func(other string) bool { return other != name })); n != 1 {
			t.Errorf("%s is listed %d times", name, n)
		}
	}
}

func TestNothingIsBehindWhatIsNoPlace(t *testing.T) {
	registry, _ := inMemory(t)
	create(t, registry, "shop")
	for _, after := range []string{"x", ",", "1,app_x", "2026-01-01T00:00:00Z", "9999-12-31T23:59:59Z,app_x"} {
		if apps, next := registry.Apps(after, 10); len(apps) != 0 || next != "" {
			t.Errorf("%q: %v, %q", after, apps, next)
		}
	}
}
