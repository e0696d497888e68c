package keystore

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestCheck(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	app, secrets := new(App), map[string]string{}
	add := func(name string, kind Kind, change func(*Key)) {
		key, secret := NewKey(kind, name)
		change(&key)
		app.Keys, secrets[name] = append(app.Keys, key), secret
	}
	add("publish", Publish, func(*Key) {})
	add("subscribe", Subscribe, func(*Key) {})
	add("second publish", Publish, func(*Key) {})
	add("expires later", Publish, func(k *Key) { k.Expires = now.Add(1) })
	add("expires now", Publish, func(k *Key) { k.Expires = now })
	add("expired subscribe", Subscribe, func(k *Key) { k.Expires = now.Add(-time.Hour) })
	add("revoked", Publish, func(k *Key) { k.Revoked = now.Add(-time.Hour) })
	add("revoked, then the clock went back", Publish, func(k *Key) { k.Revoked = now.Add(time.Hour) })
	add("revoked and expired", Publish, func(k *Key) { k.Revoked, k.Expires = now, now })
	publish := secrets["publish"]

	for name, test := range map[string]struct {
		kind   Kind
		secret string
		want   error
	}{
		"publish":                      {Publish, publish, nil},
		"subscribe":                    {Subscribe, secrets["subscribe"], nil},
		"second publish":               {Publish, secrets["second publish"], nil},
		"expires later":                {Publish, secrets["expires later"], nil},
		"expires now":                  {Publish, secrets["expires now"], ErrKeyExpired},
		"expired subscribe":            {Subscribe, secrets["expired subscribe"], ErrKeyExpired},
		"revoked":                      {Publish, secrets["revoked"], ErrKeyRevoked},
		"revoked, clock back":          {Publish, secrets["revoked, then the clock went back"], ErrKeyRevoked},
		"revoked and expired":          {Publish, secrets["revoked and expired"], ErrKeyRevoked},
		"subscribe key publishes":      {Publish, secrets["subscribe"], ErrWrongKind},
		"publish key subscribes":       {Subscribe, publish, ErrWrongKind},
		"revoked one of another kind":  {Subscribe, secrets["revoked"], ErrWrongKind},
		"another app's, other kind":    {Publish, "sub_live_" + publish[8:], ErrWrongKind},
		"another app's, subscribing":   {Subscribe, "pk_live_x", ErrWrongKind},
		"another app's":                {Publish, "pk_live_" + strings.Repeat("x", 32), ErrInvalidKey},
		"empty":                        {Publish, "", ErrInvalidKey},
		"prefix alone":                 {Publish, "pk_live_", ErrInvalidKey},
		"last character missing":       {Publish, publish[:len(publish)-1], ErrInvalidKey},
		"one more character":           {Publish, publish + "a", ErrInvalidKey},
		"in capitals":                  {Publish, strings.ToUpper(publish), ErrInvalidKey},
		"with a space":                 {Publish, " " + publish, ErrInvalidKey},
		"the hash itself":              {Publish, string(app.Keys[0].Hash), ErrInvalidKey},
		"longer than any key":          {Publish, strings.Repeat("pk_live_", 1000), ErrInvalidKey},
		"not text":                     {Publish, "\x00\xff", ErrInvalidKey},
		"the id":                       {Publish, app.Keys[0].ID, ErrInvalidKey},
		"without its prefix":           {Publish, publish[8:], ErrInvalidKey},
		"of the kind, without a match": {Subscribe, "sub_live_" + publish[8:], ErrInvalidKey},
	} {
		t.Run(name, func(t *testing.T) {
			key, err := app.Check(test.kind, test.secret, now)
			if !errors.Is(err, test.want) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if (key != nil) != (err == nil) {
				t.Fatalf("key %v with error %v", key, err)
			}
			if key != nil && secrets[key.Label] != test.secret {
				t.Errorf("found %q", key.Label)
			}
		})
	}
	if _, err := new(App).Check(Publish, "", now); !errors.Is(err, ErrInvalidKey) {
		t.Errorf("an app without keys: %v", err)
	}
}

// A key without a hash must not match an empty secret or any other.
func TestKeyWithoutHashMatchesNothing(t *testing.T) {
	app := &App{Keys: []Key{{ID: "key_1", Kind: Publish}, {ID: "key_2", Kind: Publish, Hash: []byte{}}}}
	for _, secret := range []string{"", "pk_live_"} {
		if _, err := app.Check(Publish, secret, time.Now()); !errors.Is(err, ErrInvalidKey) {
			t.Errorf("%q: %v", secret, err)
		}
	}
}

func TestCheckAllocatesNothing(t *testing.T) {
	app, secrets := appWithKeys(3)
	now := time.Now()
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := app.Check(Publish, secrets[2], now); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestNewKey(t *testing.T) {
	seen := map[string]bool{}
	letters := map[rune]int{}
	for range 2000 {
		for _, kind := range []Kind{Publish, Subscribe} {
			key, secret := NewKey(kind, "")
			random, ok := strings.CutPrefix(secret, kind.Prefix())
			if !ok || len(random) != 32 || seen[secret] || seen[key.ID] || key.Last4 != random[28:] {
				t.Fatalf("%s: %+v", secret, key)
			}
			seen[secret], seen[key.ID] = true, true
			for _, letter := range random {
				letters[letter]++
			}
		}
	}
	// 128,000 letters out of 62: 2,065 of each, give or take 45; this allows 8
	// times that.
	for letter, n := range letters {
		if len(letters) != 62 || n < 1700 || n > 2430 {
			t.Errorf("%d letters; %c came %d times", len(letters), letter, n)
		}
	}
}

func appWithKeys(n int) (*App, []string) {
	app, secrets := new(App), make([]string, n)
	for i := range secrets {
		var key Key
		key, secrets[i] = NewKey(Publish, "")
		app.Keys = append(app.Keys, key)
	}
	return app, secrets
}

func BenchmarkCheck(b *testing.B) {
	app, secrets := appWithKeys(2)
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := app.Check(Publish, secrets[1], now); err != nil {
			b.Fatal(err)
		}
	}
}
