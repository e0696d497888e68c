package realtime

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/managetest"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// shop is a keystore with an app of each kind that requests can meet.
type shop struct {
	registry *keystore.Registry

	// app is an ordinary app with valid, expired and revoked keys.
	app, publishKey, subscribeKey, expiredKey, revokedKey string

	// other is another ordinary app.
	other, otherKey string

	disabledApp, disabledKey string

	// narrowApp allows only https://a.example and 5 publishes per hour.
	narrowApp, narrowKey string
}

func newShop(tb testing.TB) *shop {
	tb.Helper()
	_, registry := managetest.OpenStore(tb)
	create := func(change func(*keystore.App)) keystore.Created {
		tb.Helper()
		made, err := registry.Create("shop")
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := registry.Update(made.App.ID, func(a *keystore.App) error { change(a); return nil }); err != nil {
			tb.Fatal(err)
		}
		return made
	}

	const expired, revoked = "pk_live_expired", "pk_live_revoked"
	past := time.Now().Add(-time.Minute)
	usual := create(func(a *keystore.App) {
		old := oldKey(expired)
		old.Expires = past
		a.Keys = append(a.Keys, old)
		old = oldKey(revoked)
		old.Revoked = past
		a.Keys = append(a.Keys, old)
	})
	other := create(func(*keystore.App) {})
	disabled := create(func(a *keystore.App) { a.Disabled = true })
	narrow := create(func(a *keystore.App) {
		a.AllowedOrigins = []string{"https://a.example"}
		a.Rate = &keystore.Rate{Limit: 5, Window: time.Hour}
	})
	return &shop{
		registry: registry,
		app:      usual.App.ID, publishKey: usual.PublishKey, subscribeKey: usual.SubscribeKey,
		expiredKey: expired, revokedKey: revoked,
		other: other.App.ID, otherKey: other.PublishKey,
		disabledApp: disabled.App.ID, disabledKey: disabled.PublishKey,
		narrowApp: narrow.App.ID, narrowKey: narrow.PublishKey,
	}
}

// oldKey returns a publish key that was created some time ago.
func oldKey(secret string) keystore.Key {
	hash := sha256.Sum256([]byte(secret))
	return keystore.Key{ID: "key_" + secret, Kind: keystore.Publish, Hash: hash[:], Created: time.Now().Add(-time.Hour)}
}
