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

// Answer appends the body of the answer to a publish of one message.
func (r Receipt) Answer(b []byte) []byte { return append(r.appendTo(b), '\n') }

// AnswerAll appends the body of the answer to a publish of several messages.
func AnswerAll(b []byte, receipts []Receipt) []byte {
	b = append(b, `{"results":[`...)
	for i, r := range receipts {
		if i > 0 {
			b = append(b, ',')
		}
		b = r.appendTo(b)
	}
	return append(b, "]}\n"...)
}

// appendTo appends the receipt as JSON: an id has no characters that JSON escapes.
func (r Receipt) appendTo(b []byte) []byte {
	b = append(b, `{"id":"`...)
	b = append(b, r.ID...)
	b = append(b, `","offset":`...)
	b = strconv.AppendUint(b, r.Offset, 10)
	b = append(b, `,"subscribers":`...)
	b = strconv.AppendInt(b, int64(r.Subscribers), 10)
	return append(b, '}')
}

// WriteAnswer answers a publish. It is respond.JSON stripped down for the hot path.
func WriteAnswer(w http.ResponseWriter, body []byte) {
	respond.SetHeaders(w.Header(),
		[]string{"Content-Type", "Content-Length"},
		[]string{"application/json", strconv.Itoa(len(body))})
	_, _ = w.Write(body)
}
