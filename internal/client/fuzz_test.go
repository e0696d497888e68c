package client

import (
	"encoding/json"
	"testing"
)

// Whatever a server sends, an accepted event is complete.
func FuzzPacket(f *testing.F) {
	for _, text := range []string{
		`0{"sid":"s"}`, `1`, `2["e"]`, `2["e",{"a":[1,2]}]`, `27["e",null]`, `2["e",null,"AAAA-1"]`, `2["e",1,2]`, `2["e",1,""]`, `2["e",1,"x","y"]`, `31[{"channel":"a","id":"AAAA-1","complete":false,"reason":"expired","replayed":0}]`, `2/admin,["e"]`, `31[{"channel":"a"}]`,
		`31[{"error":{"code":"c","message":"m"}}]`, `4{"message":"m","data":{"code":"c"}}`, `51-["e"]`, ``, `2`, `3`, `4`,
		`299999999999999999999["e"]`, `2["e",` + "\u202e" + `"\u0000"]`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		_, _ = parseOpen(text)
		p, err := parsePacket(text)
		if err != nil {
			return
		}
		_ = p.refusal().Error()
		_, _ = p.subscribed("a")
		e, err := p.event()
		if err != nil {
			return
		}
		if e.Data != nil && !json.Valid(e.Data) {
			t.Errorf("the data of %q is no JSON: %q", text, e.Data)
		}
		var args []any
		if err := json.Unmarshal(p.payload, &args); err != nil || args[0] != e.Name || (len(args) >= 2) != (e.Data != nil) || (len(args) == 3) != (e.ID != "") {
			t.Errorf("%q became %+v", text, e)
		}
	})
}
