package webhook

import (
	"encoding/json"
	"fmt"
	"time"
)

// An Event is something that happened in an app. Fields that do not apply are
// left empty, and are not sent.
type Event struct {
	Type string
	App  string
	Time time.Time // if zero, the time of Emit

	Channel    string
	User       string
	Connection string // the ID of a socket
	Event      string // the name of a client event
	Code       string // of an error, for Rejected
	Reason     string // in words, for ConnectionClosed
	Count      uint64 // how many, for Rejected and Dropped

	// Info is what presence shows of a member, and Data is the data of a client
	// event. Both must be valid JSON, and must not be modified afterwards.
	Info json.RawMessage
	Data json.RawMessage
}

// timeFormat is RFC 3339 in milliseconds.
const timeFormat = "2006-01-02T15:04:05.000Z"

// maxEvent is the size of the largest event, encoded. A larger one is dropped.
const maxEvent = 256 << 10

// size is an upper bound of the memory of the event in a queue, in bytes, apart
// from strings that it shares with others.
func (e *Event) size() int {
	const fixed = 256
	return fixed + len(e.Channel) + len(e.User) + len(e.Connection) + len(e.Event) + len(e.Code) + len(e.Reason) + len(e.Info) + len(e.Data)
}

// encode returns the event as it is sent.
func (e *Event) encode(seq uint64) ([]byte, error) {
	data, err := json.Marshal(struct {
		Type       string          `json:"type"`
		Seq        uint64          `json:"seq"`
		Time       string          `json:"time"`
		Channel    string          `json:"channel,omitempty"`
		User       string          `json:"user,omitempty"`
		Connection string          `json:"connection,omitempty"`
		Event      string          `json:"event,omitempty"`
		Code       string          `json:"code,omitempty"`
		Reason     string          `json:"reason,omitempty"`
		Count      uint64          `json:"count,omitempty"`
		Info       json.RawMessage `json:"info,omitempty"`
		Data       json.RawMessage `json:"data,omitempty"`
	}{
		e.Type, seq, e.Time.UTC().Format(timeFormat), e.Channel, e.User, e.Connection,
		e.Event, e.Code, e.Reason, e.Count, e.Info, e.Data,
	})
	if err == nil && len(data) > maxEvent {
		err = fmt.Errorf("an event of %d bytes is larger than %d", len(data), maxEvent)
	}
	return data, err
}
