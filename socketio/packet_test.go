package socketio

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/zishang520/socket.io/parsers/socket/v3/parser"
)

func TestReservedNamesAreTheLibrarys(t *testing.T) {
	for _, name := range parser.ReservedEvents.Keys() {
		if !reserved(name) {
			t.Errorf("%q", name)
		}
	}
}

func TestSplitArrayFindsEachElement(t *testing.T) {
	for array, want := range map[string][]string{
		`[]`:                                 {},
		"[ \n]":                              {},
		`[1]`:                                {`1`},
		`[1,2]`:                              {`1`, `2`},
		`["a,b","]","\"","\\",","]`:          {`"a,b"`, `"]"`, `"\""`, `"\\"`, `","`},
		`[ [1,[2,3]] , {"a":[4,"}"],"b":5}]`: {`[1,[2,3]]`, `{"a":[4,"}"],"b":5}`},
	} {
		got, err := splitArray(json.RawMessage(array))
		if err != nil || !slices.EqualFunc(got, want, func(a json.RawMessage, b string) bool { return string(a) == b }) {
			t.Errorf("%s: got %q, %v", array, got, err)
		}
	}
}

var seeds = []string{
	``, `0`, `0{"a":1}`, `0null`, `0"a"`, `0/`, `0/,`, `0/admin`, `0/admin,{"a":1}`, `0{`, `1`, `1/admin,`, `1{}`, `112`,
	`2["a"]`, `2["a",1,"2",{"3":[true]}]`, `2/admin,12["a"]`, `212["a"]`, `2["a"]x`, `2[]`, `2[1]`, `2{}`, `2null`, `2`, `2abc["a"]`,
	`2["connect"]`, `2["a",1e999]`, `2[ "a" , [ 1 ] ] `, `2["\ud800"]`, "2[\"\xff\"]", `21234567890123456789["a"]`, `212345678901234567890["a"]`,
	`31[]`, `31["a"]`, `3[1]`, `31{}`, `4{"message":"no"}`, `4"no"`, `50-["a"]`, `51-["a",{"_placeholder":true,"num":0}]`,
	`51-12["a",{"_placeholder":true,"num":1}]`, `52-/admin,["a",{"_placeholder":true,"num":0.5}]`, `51-["a",{"_placeholder":true,"num":-1}]`,
	`511-["a"]`, `5-["a"]`, `5`, `5001-["a"]`, `61-1[{"_placeholder":true,"num":0}]`, `7`, `9["a"]`,
	`2["a",` + strings.Repeat("[", 9999) + strings.Repeat("]", 9999) + `]`, `2["a"` + strings.Repeat(",0", 1001) + `]`,
}

// FuzzPacket feeds one text to our decoder and the library's. Neither may
// panic, and they agree, except where ours is stricter on purpose.
func FuzzPacket(f *testing.F) {
	for _, seed := range seeds {
		f.Add(seed, []byte("attachment"))
	}
	f.Fuzz(func(t *testing.T, text string, attachment []byte) {
		p, err := parseHead([]byte(text))
		if err == nil {
			err = p.checkPayload()
		}
		theirs, theirErr := decodeByLibrary(text, attachment, p.attachments)
		if err != nil {
			if theirErr == nil && !refusedOnPurpose(err, text) {
				t.Fatalf("%q: %v, but the library takes it", text, err)
			}
			return
		}
		var e *Event
		var attachments [][]byte
		for range p.attachments {
			attachments = append(attachments, attachment)
		}
		switch p.kind {
		case typeAck, typeBinaryAck, typeConnectError: // ignored by the server
			return
		case typeEvent, typeBinaryEvent:
			e, err = newEvent(nil, p, attachments)
			if err != nil {
				if theirErr == nil && !errors.Is(err, errEventName) && !errors.Is(err, errArgs) {
					t.Fatalf("%q: %v, but the library takes it", text, err)
				}
				return
			}
		case typeConnect:
			if p.payload != nil && p.payload[0] != '{' {
				return // refused by connect
			}
		}
		if theirErr != nil {
			if json.Unmarshal(p.payload, new(any)) != nil {
				return // a number that float64 cannot hold
			}
			t.Fatalf("%q: the library says %v", text, theirErr)
		}
		compare(t, text, p, e, theirs)
	})
}

// decodeByLibrary returns the packet once it is complete.
func decodeByLibrary(text string, attachment []byte, attachments int) (*parser.Packet, error) {
	var got *parser.Packet
	d := parser.NewDecoder()
	if err := d.On("decoded", func(args ...any) { got, _ = args[0].(*parser.Packet) }); err != nil {
		return nil, err
	}
	if err := d.Add(text); err != nil {
		return nil, err
	}
	for range attachments {
		if err := d.Add(attachment); err != nil {
			return nil, err
		}
	}
	return got, nil
}

// refusedOnPurpose reports whether the library is known to be more lenient.
func refusedOnPurpose(err error, text string) bool {
	switch {
	case errors.Is(err, errUTF8), errors.Is(err, errType):
		return true
	case errors.Is(err, errJSON): // garbage after the value
		if rest := strings.TrimLeft(text, "0123456789-"); strings.HasPrefix(rest, "/") {
			_, text, _ = strings.Cut(rest, ",")
		}
		start := strings.IndexAny(text, "[{\"tfn")
		return start >= 0 && json.NewDecoder(strings.NewReader(text[start:])).Decode(new(any)) == nil
	case errors.Is(err, errPayload): // DISCONNECT with null
		return strings.HasPrefix(text, "1")
	}
	return false
}

func compare(t *testing.T, text string, p packet, e *Event, theirs *parser.Packet) {
	t.Helper()
	if theirs == nil {
		t.Fatalf("%q: the library waits for more", text)
	}
	namespace := p.namespace
	if namespace == "" {
		namespace = "/"
	}
	if byte(theirs.Type)+'0' != p.kind || theirs.Nsp != namespace || (theirs.Id != nil) != p.wantsAck || theirs.Id != nil && *theirs.Id != p.id {
		t.Fatalf("%q: got %+v, the library %+v", text, p, theirs)
	}
	if e == nil {
		return
	}
	values, _ := theirs.Data.([]any)
	if len(values) == 0 && e.Name == "" {
		return // no payload
	}
	name := values[0]
	if number, ok := name.(float64); ok {
		if name = e.Name; json.Unmarshal([]byte(e.Name), &values[0]) != nil || values[0] != number {
			t.Fatalf("%q: got %q, the library %v", text, e.Name, number)
		}
	}
	if e.Name != name || len(e.Args) != len(values)-1 || len(e.Values()) != len(e.Args) {
		t.Fatalf("%q: got %q %s, the library %v", text, e.Name, e.Args, values)
	}
}
