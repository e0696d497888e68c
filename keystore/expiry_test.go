package keystore

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func expiringApp(id string, expires ...time.Time) *App {
	app := &App{ID: id}
	for _, at := range expires {
		key, _ := NewKey(Subscribe, "")
		key.Expires = at
		app.Keys = append(app.Keys, key)
	}
	return app
}

func TestExpiryIsReportedWithinAQuarterOfASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type report struct {
			app string
			at  time.Time
		}
		reports := make(chan report, 10)
		var apps sync.Map
		e := StartExpiry(func(id string) (*App, bool) {
			app, ok := apps.Load(id)
			if !ok {
				return nil, false
			}
			return app.(*App), true
		}, func(app *App) { reports <- report{app.ID, time.Now()} })
		defer e.Stop()
		watch := func(id string, expires ...time.Time) {
			apps.Store(id, expiringApp(id, expires...))
			e.Watch(id)
		}
		begin := time.Now()
		watch("never", time.Time{})
		watch("late", begin.Add(time.Hour))
		watch("soon", begin.Add(90*time.Minute), begin.Add(time.Minute))
		watch("deleted", begin.Add(time.Minute))
		apps.Delete("deleted")
		e.Watch("deleted")
		watch("longer", begin.Add(time.Minute))
		watch("longer", begin.Add(2*time.Hour))
		for _, want := range []struct {
			app   string
			after time.Duration
		}{{"soon", time.Minute}, {"late", time.Hour}, {"soon", 90 * time.Minute}, {"longer", 2 * time.Hour}} {
			got := <-reports
			if late := got.at.Sub(begin) - want.after; got.app != want.app || late < 0 || late > expiryStep {
				t.Errorf("%s after %v, want %s after %v", got.app, got.at.Sub(begin), want.app, want.after)
			}
		}
		// Nothing is due: it does not check the clock until something is.
		time.Sleep(time.Hour)
		watch("again", time.Now().Add(time.Second))
		if got := <-reports; got.app != "again" {
			t.Errorf("got %s", got.app)
		}
	})
}

// After a wrong clock is corrected, keys that had expired by it are valid
// again, and expire again.
func TestKeyExpiresAgainAfterTheClockWentBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wrong atomic.Int64 // how far the wall clock is ahead
		reports := make(chan time.Duration, 10)
		begin := time.Now()
		var app atomic.Pointer[App]
		app.Store(expiringApp("app", begin.Add(time.Hour)))
		e := StartExpiry(
			func(string) (*App, bool) { return app.Load(), true },
			func(*App) { reports <- time.Since(begin) },
		)
		defer e.Stop()
		e.now = func() time.Time { return time.Now().Round(0).Add(time.Duration(wrong.Load())) }
		e.Watch("app")
		time.Sleep(time.Minute)
		wrong.Store(int64(24 * time.Hour))
		if after := <-reports; after-time.Minute > expiryStep {
			t.Errorf("the clock went ahead, and that was noticed after %v", after-time.Minute)
		}
		wrong.Store(0)
		e.Watch("app") // a client connects
		if after := <-reports; after < time.Hour || after > time.Hour+expiryStep {
			t.Errorf("the key expired after %v", after)
		}
		// Backwards, before it has expired: it stays valid for longer.
		app.Store(expiringApp("app", time.Now().Add(time.Minute)))
		e.Watch("app")
		time.Sleep(30 * time.Second)
		wrong.Store(int64(-time.Hour))
		last := time.Since(begin)
		if after := <-reports; after < last+time.Hour+30*time.Second {
			t.Errorf("the clock went back an hour, and the key expired after %v", after-last)
		}
	})
}
