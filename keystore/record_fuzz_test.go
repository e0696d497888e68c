package keystore

import (
	"reflect"
	"testing"
)

// Any bytes are either not a record, or one that reads the same after it is
// written again.
func FuzzDecodeApp(f *testing.F) {
	app := full()
	record, err := Encode(app)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		string(record),
		string(record[:len(record)/2]),
		`{"v":1,"id":"app_full","name":"","created":"0001-01-01T00:00:00Z","keys":null}`,
		`{"v":1,"id":"app_full","created":"9999-12-31T23:59:59+23:59","keys":[]}`,
		`{"v":2,"id":"app_full","history":{"messages":7,"age":3600000000000},"recovery":180000000000,"keys":[]}`,
		`{"v":2,"id":"app_full","history":{"messages":0,"age":0},"recovery":0,"keys":[]}`,
		`{"v":2,"id":"app_full","history":{"messages":-1,"age":1},"recovery":-1,"keys":[]}`,
		`{"v":2,"id":"app_full","history":null,"recovery":1.5,"keys":[]}`,
		`{"v":1,"id":"app_full","history":{"messages":1,"age":1},"keys":[]}`,
		`{"v":3,"id":"app_full","rules":[],"max_connections_per_user":1,"revoked_users":{"42":"2026-02-03T04:05:06Z"},"keys":[]}`,
		`{"v":3,"id":"app_full","rules":[{"match":"a*","access":"token"},{"match":"*b","access":"open"}],"keys":[]}`,
		`{"v":4,"id":"app_full","hooks":[{"id":"hook_a","url":"x","events":[],"created":"2026-02-03T04:05:06+01:00","secret":"whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}],"keys":[]}`,
		`{"v":4,"id":"app_full","hooks":[{"id":"hook_a","url":"x","secret":"whsec_AAAA"}],"keys":[]}`,
		`{"v":2}`, `{"v":5}`, `{"v":1e9}`, `null`, `[]`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		app, err := Decode("app_full", data)
		if err != nil {
			return
		}
		again, err := Encode(app)
		if err != nil {
			t.Fatal(err)
		}
		same, err := Decode("app_full", again)
		if err != nil {
			t.Fatal(err)
		}
		// Empty lists become nil, and time zones are written as offsets.
		third, err := Encode(same)
		if err != nil || !reflect.DeepEqual(again, third) {
			t.Fatalf("%s, then %s, %v", again, third, err)
		}
	})
}
