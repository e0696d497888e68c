package keystore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// open opens the registry of a directory, and closes it when the test ends.
func open(t *testing.T, dir string) *Registry {
	t.Helper()
	store, err := OpenBadger(dir, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	registry, err := Open(store)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := registry.Close(); err != nil {
			t.Error(err)
		}
	})
	return registry
}

// wantRefusal opens a store that must fail to open, with an error that contains
// all of these words.
func wantRefusal(t *testing.T, dir string, words ...string) {
	t.Helper()
	store, err := OpenBadger(dir, zap.NewNop())
	if err == nil {
		var registry *Registry
		if registry, err = Open(store); err == nil {
			registry.Close()
			t.Fatalf("it opened; want an error with %q", words)
		}
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q lacks %q", err, word)
		}
	}
}

// write puts raw records into the store in a directory.
func write(t *testing.T, dir string, records map[string]string) {
	t.Helper()
	db, err := badger.Open(options(dir, &badgerLog{logger: zap.NewNop()}))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for key, value := range records {
		if err := db.Update(func(tx *badger.Txn) error { return tx.Set([]byte(key), []byte(value)) }); err != nil {
			t.Fatal(err)
		}
	}
}

func create(t *testing.T, r *Registry, name string) Created {
	t.Helper()
	made, err := r.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// full is an app that uses every field.
func full() *App {
	at := time.Date(2026, 2, 3, 4, 5, 6, 789, time.UTC)
	app := &App{
		ID: "app_full", Name: "Größe ✓", Created: at, Disabled: true,
		Rate:           &Rate{Limit: 5, Window: 90 * time.Second},
		History:        &History{Messages: 7, Age: time.Hour},
		Recovery:       new(3 * time.Minute),
		MaxConnections: 1, MaxChannels: 2, MaxBody: 3, MaxConnectionsPerUser: 4,
		Rules: []Rule{
			{Match: "orders.*", Access: AccessToken, Presence: true, ClientEvents: true, History: &History{Messages: 3, Age: time.Minute}},
			{Match: "*", Access: AccessClosed},
		},
		RevokedUsers:   map[string]time.Time{"42": at},
		AllowedOrigins: []string{"https://app.example.com", "https://*.example.org"},
		Hooks: []Hook{
			{ID: "hook_a", URL: "https://app.example.com/hooks", Enabled: true, Created: at, Secret: newHookSecret()},
			{
				ID: "hook_b", URL: "http://10.0.0.7/", Events: []string{HookRejected, HookConnectionOpened}, Prefix: "orders.", Problem: "410 Gone",
				Created: at, Secret: newHookSecret(), Previous: newHookSecret(), PreviousUntil: at.Add(time.Hour),
			},
		},
	}
	for i, kind := range Kinds() {
		key, _ := NewKey(kind, "of the backend")
		key.Expires, key.Revoked = at.Add(time.Hour), at.Add(time.Duration(i)*time.Minute)
		app.Keys = append(app.Keys, key)
	}
	app.Keys[0].Scopes = []Scope{ScopePublish, ScopeManage}
	for _, public := range publicKeys() {
		key, err := NewPublicKey(public, "of the backend")
		if err != nil {
			panic(err)
		}
		key.Created = at
		app.Keys = append(app.Keys, key)
	}
	return app
}

func TestEveryFieldSurvivesReopening(t *testing.T) {
	for name, app := range map[string]*App{
		"all fields":  full(),
		"no fields":   {ID: "app_empty"},
		"no rules":    {ID: "app_norules", Rules: []Rule{}},
		"no limit":    {ID: "app_nolimit", Rate: &Rate{}},
		"no history":  {ID: "app_nohistory", History: &History{}, Recovery: new(time.Duration(0))},
		"a large one": large(),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			store, err := OpenBadger(dir, zap.NewNop())
			if err != nil {
				t.Fatal(err)
			}
			if err := store.Put(t.Context(), nil, app); err != nil {
				t.Fatal(err)
			}
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
			got, ok := open(t, dir).App(app.ID)
			if !ok || !reflect.DeepEqual(got, app) {
				t.Errorf("%+v, want %+v", got, app)
			}
		})
	}
}

// The test above is useful only if full leaves out no field.
func TestFullUsesEveryField(t *testing.T) {
	app := full()
	key := app.Keys[len(app.Keys)-1] // for tokens, with the scopes of another kind
	key.Scopes, key.Expires, key.Revoked = app.Keys[0].Scopes, app.Keys[0].Expires, app.Keys[0].Revoked
	hook := app.Hooks[1]
	hook.Enabled = app.Hooks[0].Enabled
	for _, v := range []reflect.Value{reflect.ValueOf(*app), reflect.ValueOf(*app.Rate), reflect.ValueOf(app.Rules[0]), reflect.ValueOf(hook), reflect.ValueOf(key)} {
		for field, value := range v.Fields() {
			if value.IsZero() {
				t.Errorf("%s.%s is zero", v.Type(), field.Name)
			}
		}
	}
}

// large is an app whose record goes to the value log.
func large() *App {
	app := &App{ID: "app_large", Name: "large"}
	for range 2 * maxInline / 200 {
		key, _ := NewKey(Publish, "rotated")
		app.Keys = append(app.Keys, key)
	}
	return app
}

func TestNoKeyIsOnDisk(t *testing.T) {
	dir := t.TempDir()
	registry := open(t, dir)
	var keys []string
	for i := range 50 {
		made := create(t, registry, fmt.Sprint("shop ", i))
		keys = append(keys, made.PublishKey, made.SubscribeKey)
	}
	scan := func(when string) (found bool) {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			for _, key := range keys {
				_, random, _ := strings.Cut(key, "_live_")
				if bytes.Contains(data, []byte(random[:12])) {
					t.Errorf("%s: %s has the key %s", when, path, key)
				}
			}
			found = found || bytes.Contains(data, []byte("shop 49"))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if !scan("open") {
		t.Error("open: no file has the names either, so the search proves nothing")
	}
	if err := registry.Close(); err != nil {
		t.Fatal(err)
	}
	if !scan("closed") {
		t.Error("closed: no file has the names either, so the search proves nothing")
	}
}

func TestNoKeyIsLogged(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	dir := filepath.Join(t.TempDir(), "keystore")
	for range 2 {
		store, err := OpenBadger(dir, zap.New(core))
		if err != nil {
			t.Fatal(err)
		}
		registry, err := Open(store)
		if err != nil {
			t.Fatal(err)
		}
		made := create(t, registry, "shop")
		if err := registry.Close(); err != nil {
			t.Fatal(err)
		}
		for _, entry := range logs.All() {
			if line := fmt.Sprint(entry); strings.Contains(line, made.PublishKey[8:]) || strings.Contains(line, made.SubscribeKey[9:]) {
				t.Error(line)
			}
			if entry.Level > zapcore.DebugLevel {
				t.Errorf("normal work is logged: %s %v", entry.Level, entry.ContextMap())
			}
		}
	}
	if logs.Len() == 0 {
		t.Error("Badger logs nothing even for debugging")
	}
}

func TestDamagedRecordsAreNamed(t *testing.T) {
	app := full()
	good, err := Encode(app)
	if err != nil {
		t.Fatal(err)
	}
	replace := func(from, to string) string {
		damaged := strings.Replace(string(good), from, to, 1)
		if damaged == string(good) {
			t.Fatalf("no %s in %s", from, good)
		}
		return damaged
	}
	for name, test := range map[string]struct{ record, reason string }{
		"empty":                    {"", "damaged"},
		"not JSON":                 {"\x00\x01", "damaged"},
		"cut off":                  {string(good[:len(good)-1]), "damaged"},
		"two":                      {string(good) + string(good), "damaged"},
		"null":                     {"null", "damaged"},
		"another app":              {replace("app_full", "app_other"), "damaged"},
		"unknown field":            {replace(`"v":4`, `"v":4,"secret":1`), "secret"},
		"no version":               {replace(`"v":4,`, ``), "format 0"},
		"negative version":         {replace(`"v":4`, `"v":-1`), "format -1"},
		"newer version":            {`{"v":5,"keys":{"new":"shape"}}`, "run the newer version"},
		"unknown kind":             {replace(`"publish"`, `"admin"`), `"admin"`},
		"short hash":               {replace(`"sha256":"`, `"sha256":"","x":"`), "damaged"},
		"no hash":                  {replace(`"sha256"`, `"SHA-256"`), "damaged"},
		"a key twice":              {replace(app.Keys[1].ID, app.Keys[0].ID), "id"},
		"rate of nothing":          {replace(`"window":90000000000`, `"window":0`), "rate of 5 in 0s"},
		"a history of no time":     {replace(`"age":3600000000000`, `"age":0`), "history of 7 in 0s"},
		"a history below nothing":  {replace(`"messages":7`, `"messages":-7`), "history of -7"},
		"a negative recovery":      {replace(`"recovery":180000000000`, `"recovery":-1`), "recovery of -1ns"},
		"a webhook twice":          {replace(`"hook_b"`, `"hook_a"`), `webhook 1 has the id "hook_a"`},
		"a webhook without a URL":  {replace(`"url":"http://10.0.0.7/"`, `"url":""`), "hook_b: a URL of 0 bytes"},
		"an unknown event":         {replace(`"rejected"`, `"everything"`), `hook_b: the event "everything"`},
		"an event twice":           {replace(`"rejected"`, `"connection.opened"`), `the event "connection.opened" is unknown, or duplicated`},
		"a webhook's short secret": {replace(`"previous":"whsec_`, `"previous":"whsec_AAAA","x":"`), "damaged"},
		"a webhook's other secret": {replace(`"secret":"whsec_`, `"secret":"sec_`), "hook_a: a secret that does not begin with whsec_"},
		"a problem while enabled":  {replace(`"enabled":true`, `"enabled":true,"problem":"410"`), "hook_a: it is enabled"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := open(t, dir).Close(); err != nil {
				t.Fatal(err)
			}
			write(t, dir, map[string]string{"app/app_full": test.record})
			wantRefusal(t, dir, `"app_full"`, test.reason)
		})
	}
}

// A version that does not know format 2 reads the store, and every app that
// does not need it.
func TestOnlyRecordsThatNeedItHaveTheNewFormat(t *testing.T) {
	for name, test := range map[string]struct {
		app    App
		format string
	}{
		"neither":     {App{ID: "app_a", MaxBody: 3, Rate: &Rate{Limit: 1, Window: time.Second}}, `{"v":1,`},
		"history":     {App{ID: "app_a", History: &History{Messages: 7, Age: time.Hour}}, `{"v":2,`},
		"no history":  {App{ID: "app_a", History: new(History)}, `{"v":2,`},
		"no recovery": {App{ID: "app_a", Recovery: new(time.Duration(0))}, `{"v":2,`},
		"rules":       {App{ID: "app_a", Rules: DefaultRules()}, `{"v":3,`},
		"no rules":    {App{ID: "app_a", Rules: []Rule{}}, `{"v":3,`},
		"per user":    {App{ID: "app_a", MaxConnectionsPerUser: 1}, `{"v":3,`},
		"revoked":     {App{ID: "app_a", RevokedUsers: map[string]time.Time{"42": {}}}, `{"v":3,`},
		"webhooks":    {App{ID: "app_a", Hooks: full().Hooks}, `{"v":4,`},
	} {
		record, err := Encode(&test.app)
		if err != nil || !strings.HasPrefix(string(record), test.format) {
			t.Errorf("%s: %s, %v", name, record, err)
		}
	}
	dir := t.TempDir()
	if err := open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	db, err := badger.Open(options(dir, &badgerLog{logger: zap.NewNop()}))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *badger.Txn) error {
		item, err := tx.Get([]byte("meta/format"))
		if err != nil {
			return err
		}
		return item.Value(func(format []byte) error {
			if string(format) != "1" {
				t.Errorf("a new store has format %q", format)
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestUnknownFormatsAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		records map[string]string
		words   []string
	}{
		"newer":           {map[string]string{"meta/format": "2"}, []string{"format 2", "run the newer version"}},
		"not a number":    {map[string]string{"meta/format": "one"}, []string{"meta/format", "damaged"}},
		"zero":            {map[string]string{"meta/format": "0"}, []string{"damaged"}},
		"another program": {map[string]string{"user/1": "x"}, []string{"another program", "keystore badger <dir>"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, test.records)
			for range 2 { // the refusal itself must not change anything either
				wantRefusal(t, dir, append(test.words, dir)...)
			}
		})
	}
}

// Badger skips data that it cannot read. We must not start without it.
func TestDamagedTableLosesNothingSilently(t *testing.T) {
	dir := t.TempDir()
	registry := open(t, dir)
	for i := range 20 {
		create(t, registry, fmt.Sprint("shop ", i))
	}
	if err := registry.Close(); err != nil {
		t.Fatal(err)
	}
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil || len(tables) != 1 {
		t.Fatalf("tables %v, %v", tables, err)
	}
	good, err := os.ReadFile(tables[0])
	if err != nil {
		t.Fatal(err)
	}
	// Except for the lengths at its end: a wrong one makes Badger panic, which
	// is not silent.
	for at := 0; at < len(good)-32; at += len(good) / 60 {
		damaged := slices.Clone(good)
		damaged[at] ^= 0x10
		if err := os.WriteFile(tables[0], damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		store, err := OpenBadger(dir, zap.NewNop())
		if err != nil {
			continue
		}
		apps, err := store.Load(t.Context())
		if err == nil && len(apps) != 20 {
			t.Errorf("byte %d of %d: %d apps of 20, and no error", at, len(good), len(apps))
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(tables[0], good, 0o600); err != nil {
		t.Fatal(err)
	}
	if n := open(t, dir).Len(); n != 20 {
		t.Errorf("%d apps of 20 once the table was restored", n)
	}
}

func TestFullDiskIsAnErrorNotACrash(t *testing.T) {
	store, err := OpenBadger(t.TempDir(), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	registry, err := Open(store)
	if err != nil {
		t.Fatal(err)
	}
	defer registry.Close()
	id := create(t, registry, "shop").App.ID
	store.minFree = math.MaxUint64
	_, err = registry.Create("store")
	for _, err := range []error{err, registry.Delete(id)} {
		if err == nil || !strings.Contains(err.Error(), "full") {
			t.Error(err)
		}
	}
	if _, ok := registry.App(id); !ok || registry.Len() != 1 {
		t.Error("the change was made in memory")
	}
}

// A kill while Badger creates a file leaves it empty, or filled with zeros.
func TestUnfinishedFilesAreNoHindrance(t *testing.T) {
	dir := t.TempDir()
	registry := open(t, dir)
	create(t, registry, "shop")
	if err := registry.Close(); err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int{"00007.mem": 0, "00008.mem": 0, "000009.vlog": 0, "000010.sst": 0, "000011.sst": 1000} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	registry = open(t, dir)
	create(t, registry, "store")
	if n := registry.Len(); n != 2 {
		t.Errorf("%d apps, want 2", n)
	}
}

// A bubble does not end before all of its goroutines.
func TestCloseEndsEveryGoroutine(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		store, err := OpenBadger(dir, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		registry, err := Open(store)
		if err != nil {
			t.Fatal(err)
		}
		create(t, registry, "shop")
		time.Sleep(3 * gcInterval)
		create(t, registry, "shop")
		if err := registry.Close(); err != nil {
			t.Fatal(err)
		}
		if err := registry.Close(); err != nil {
			t.Error("closing twice:", err)
		}
		if _, err := registry.Create("shop"); !errors.Is(err, ErrClosed) {
			t.Error("a change after closing:", err)
		}
	})
}
