package load

import (
	"bytes"
	"fmt"
	"strings"
)

// mark is what a message's time of sending follows, as 16 hexadecimal digits:
// of fixed width, so that it is patched into a request and found in a delivery
// without any JSON.
const (
	mark        = `"t":"`
	stampDigits = 16
)

// minPayload is the least that a message can be.
var minPayload = len(payload(0))

// payload is a JSON object of the size, with a place for the time. It stays in
// front if a server sorts the fields.
func payload(size int) string {
	const frame = `{` + mark + `0000000000000000","z":""}`
	return strings.Replace(frame, `"z":"`, `"z":"`+strings.Repeat("x", max(0, size-len(frame))), 1)
}

const hexDigits = "0123456789abcdef"

func putStamp(b []byte, t int64) {
	for i := stampDigits - 1; i >= 0; i-- {
		b[i] = hexDigits[t&15]
		t >>= 4
	}
}

// stamp is the time in a delivery, and false if it has none.
func stamp(b []byte) (t int64, ok bool) {
	i := bytes.Index(b, []byte(mark))
	if i < 0 || len(b) < i+len(mark)+stampDigits {
		return 0, false
	}
	for _, c := range b[i+len(mark):][:stampDigits] {
		digit := strings.IndexByte(hexDigits, c)
		if digit < 0 {
			return 0, false
		}
		t = t<<4 | int64(digit)
	}
	return t, true
}

// Channel is the name of the i-th channel. All are of one length.
func Channel(i int) string { return fmt.Sprintf("c%06d", i) }
