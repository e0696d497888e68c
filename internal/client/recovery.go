package client

import (
	"encoding/json"
	"strconv"
	"time"
)

// maxID bounds a private ID and a message's ID, which the client sends back, in
// bytes. The gateway's are much shorter.
const maxID = 256

// From asks for earlier messages of a channel. At most one field is set. The zero
// value asks for none.
type From struct {
	Since  string        // the ID of a message: those after it
	Last   int           // that many
	Within time.Duration // those of that time
}

// options returns the second argument of subscribe, or nil.
func (f From) options() map[string]any {
	switch {
	case f.Since != "":
		return map[string]any{"since": f.Since}
	case f.Last > 0:
		return map[string]any{"rewind": f.Last}
	case f.Within > 0:
		return map[string]any{"rewind": f.Within.String()}
	}
	return nil
}

// A Standing is the answer to a Subscribe.
type Standing struct {
	// Missing says why not all that From asked for is replayed, or is "".
	Missing string
}

// Session returns the private ID with which a later Client can come back, or "" if
// the gateway has given none.
func (c *Client) Session() string { return c.session }

// Recovered reports whether the gateway knew the session in the Config. The Client
// is then in its channels, and gets what it has missed.
func (c *Client) Recovered() bool { return c.recovered }

// Abort ends the connection like a network that is lost, so that a later Client
// can recover.
func (c *Client) Abort() { _ = c.link.conn.Close() }

// auth returns the credentials, and what a stock client sends when it comes back.
func (c *Config) auth() ([]byte, error) {
	return json.Marshal(struct {
		AppID        string `json:"appId"`
		SubscribeKey string `json:"subscribeKey,omitempty"`
		Token        string `json:"token,omitempty"`
		Recover      bool   `json:"recover,omitempty"`
		Session      string `json:"pid,omitempty"`
		Position     string `json:"offset,omitempty"`
	}{c.AppID, c.SubscribeKey, c.Token, c.Recover, c.Session, c.Position})
}

// accepted decodes the gateway's CONNECT.
func (c *Client) accepted(p packet) error {
	if !c.cfg.Recover {
		return nil
	}
	var answer struct{ PID string }
	if json.Unmarshal(p.payload, &answer) != nil {
		return malformed("a CONNECT that is no object")
	}
	if len(answer.PID) > maxID {
		return malformed("a private id of %d bytes", len(answer.PID))
	}
	c.session = answer.PID
	c.recovered = answer.PID != "" && answer.PID == c.cfg.Session
	return nil
}

// eventID decodes the last argument of an event.
func eventID(raw json.RawMessage) (string, error) {
	var id *string
	if json.Unmarshal(raw, &id) != nil || id == nil || *id == "" || len(*id) > maxID {
		return "", malformed("an event with a second argument that is no id")
	}
	return *id, nil
}

// subscribeRequest returns the packet of a subscribe.
func subscribeRequest(id uint64, channel string, from From) ([]byte, error) {
	args := []any{"subscribe", channel}
	if options := from.options(); options != nil {
		args = append(args, options)
	}
	text, err := json.Marshal(args)
	if err != nil {
		return nil, err
	}
	return append(strconv.AppendUint([]byte{engineMessage, typeEvent}, id, 10), text...), nil
}
