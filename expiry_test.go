package realtime

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

func expiringApp(expires ...time.Time) *keystore.App {
	app := new(keystore.App)
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
		e := startExpiry(func(app string) { reports <- report{app, time.Now()} })
		defer e.stop()
		begin := time.Now()
		e.watch("never", expiringApp(time.Time{}))
		e.watch("late", expiringApp(begin.Add(time.Hour)))
		e.watch("soon", expiringApp(begin.Add(time.Hour), begin.Add(time.Minute)))
		e.watch("deleted", expiringApp(begin.Add(time.Minute)))
		e.watch("deleted", nil)
		e.watch("longer", expiringApp(begin.Add(time.Minute)))
		e.watch("longer", expiringApp(begin.Add(2*time.Hour)))
		for _, want := range []struct {
			app   string
			after time.Duration
		}{{"soon", time.Minute}, {"late", time.Hour}, {"longer", 2 * time.Hour}} {
			got := <-reports
			if late := got.at.Sub(begin) - want.after; got.app != want.app || late < 0 || late > expiryStep {
				t.Errorf("%s after %v, want %s after %v", got.app, got.at.Sub(begin), want.app, want.after)
			}
		}
		// Nothing is due: it looks at no clock until something is.
		time.Sleep(time.Hour)
		e.watch("again", expiringApp(time.Now().Add(time.Second)))
		if got := <-reports; got.app != "again" {
			t.Errorf("got %s", got.app)
		}
	})
}
