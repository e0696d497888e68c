package message

import (
	"net/http"
	"strconv"

	"github.com/seed-c079cc48/caddy-realtime/internal/respond"
)

// A Receipt is the answer to a publish.
type Receipt struct {
	// ID is the message's id.
	ID string `json:"id"`

	// Offset is the message's sequence number in its app.
	Offset uint64 `json:"offset"`

	// Subscribers is the number of sockets that the message was queued for.
	Subscribers int `json:"subscribers"`
}

// Write answers a publish. It is respond.JSON stripped down for the hot path:
// an id has no characters that JSON escapes.
func (r Receipt) Write(w http.ResponseWriter) {
	var buffer [128]byte
	b := append(buffer[:0], `{"id":"`...)
	b = append(b, r.ID...)
	b = append(b, `","offset":`...)
	b = strconv.AppendUint(b, r.Offset, 10)
	b = append(b, `,"subscribers":`...)
	b = strconv.AppendInt(b, int64(r.Subscribers), 10)
	b = append(b, "}\n"...)
	respond.SetHeaders(w.Header(),
		[]string{"Content-Type", "Content-Length"},
		[]string{"application/json", strconv.Itoa(len(b))})
	_, _ = w.Write(b)
}
