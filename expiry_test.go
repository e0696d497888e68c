package realtime

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

func expiringApp(id string, expires ...time.Time) *keystore.App {
	app := &keystore.App{ID: id}
	for _, at := range expires {
		key, _ := keystore.NewKey(keystore.Subscribe, "")
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
		e := startExpiry(func(id string) (*keystore.App, bool) {
			app, ok := apps.Load(id)
			if !ok {
				return nil, false
			}
			return app.(*keystore.App), true
		}, func(app *keystore.App) { reports <- report{app.ID, time.Now()} })
		defer e.stop()
		watch := func(id string, expires ...time.Time) {
			apps.Store(id, expiringApp(id, expires...))
			e.watch(id)
		}
		begin := time.Now()
		watch("never", time.Time{})
		watch("late", begin.Add(time.Hour))
		watch("soon", begin.Add(90*time.Minute), begin.Add(time.Minute))
		watch("deleted", begin.Add(time.Minute))
		apps.Delete("deleted")
		e.watch("deleted")
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
		// Nothing is due: it looks at no clock until something is.
		time.Sleep(time.Hour)
		watch("again", time.Now().Add(time.Second))
		if got := <-reports; got.app != "again" {
			t.Errorf("got %s", got.app)
		}
	})
}
