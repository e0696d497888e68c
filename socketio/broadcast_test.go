package socketio_test

import (
	"encoding/json"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/socketio"
)

func TestABroadcastHasTwoForms(t *testing.T) {
	for _, tc := range []struct {
		event, data       string
		plain, identified string
	}{
		{"e", `{"a":1}`, `2["e",{"a":1}]`, `2["e",{"a":1},"id-1"]`},
		{"e", "", `2["e"]`, `2["e",null,"id-1"]`},
		{"e", "null", `2["e",null]`, `2["e",null,"id-1"]`},
		{`",`, "", `2["\","]`, `2["\",",null,"id-1"]`},
		{`\`, "", `2["\\"]`, `2["\\",null,"id-1"]`},
		{`\",\`, `"]"`, `2["\\\",\\","]"]`, `2["\\\",\\","]","id-1"]`},
		{"é\n", "[]", `2["é\n",[]]`, `2["é\n",[],"id-1"]`},
	} {
		b := socketio.NewBroadcast(tc.event, json.RawMessage(tc.data), "id-1")
		if tc.data == "" {
			b = socketio.NewBroadcast(tc.event, nil, "id-1")
		}
		again, err := socketio.ParseBroadcast(b.Text(), "id-1")
		if err != nil {
			t.Fatalf("%s: %v", b.Text(), err)
		}
		for _, b := range []*socketio.Broadcast{b, again} {
			if plain, identified := string(b.Plain().Text()), string(b.Identified().Text()); plain != tc.plain || identified != tc.identified {
				t.Errorf("%q with %q is %s and %s", tc.event, tc.data, plain, identified)
			}
		}
	}
	for data, want := range map[string]string{`"text"`: `2["e","text",null]`, `{"a":"b"}`: `2["e",{"a":"b"}]`, `["a"]`: `2["e",["a"]]`, "": `2["e"]`} {
		b := socketio.NewBroadcast("e", json.RawMessage(data), "")
		if data == "" {
			b = socketio.NewBroadcast("e", nil, "")
		}
		if got := string(b.Identified().Text()); got != want {
			t.Errorf("without an ID, %q is %s", data, got)
		}
	}
	for _, text := range []string{"", "2", `2[""`, `2[]`, `3["e"]`, `2[e"]`} {
		if _, err := socketio.ParseBroadcast([]byte(text), "id-1"); err == nil {
			t.Errorf("%q is taken for an event", text)
		}
	}
}
