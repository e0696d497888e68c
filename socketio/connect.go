package socketio

import (
	"bytes"
	"encoding/json"
	"errors"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
)

// A Refusal is an error of Handler.Connect with data for the client's program:
// a stock client has it as err.data in connect_error.
type Refusal struct {
	Message string // for people
	Data    any    // anything that encodes as JSON; nil is none
}

func (r *Refusal) Error() string { return r.Message }

// errAuth is how a CONNECT is refused whose auth is JSON, but no object. The
// protocol has objects only; a reason helps its author more than a cut line.
var errAuth = &Refusal{
	Message: errAuthText,
	Data: struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}{"invalid_request", errAuthText},
}

const errAuthText = "auth must be an object, as in io(url, { auth: { … } })."

// connect answers a CONNECT to the default namespace.
//
// The connect timeout runs on while the application decides, and after a
// refusal: it bounds how long a session may go on without being let in,
// however often it asks.
func (c *conn) connect(p packet) {
	c.refused.Store(false)
	// A number as auth is written like an acknowledgement id.
	if p.wantsAck || p.payload != nil && p.payload[0] != '{' {
		c.refuse(errAuth)
		return
	}
	s := newSocket(c.sess)
	s.log = c.log()
	s.handler = c.server.accept(s)
	if err := s.handler.Connect(bytes.Clone(p.payload)); err != nil { // whose text is only lent
		c.refuse(err)
		if s.gone() { // the application also asked for a disconnect
			c.close(engineio.ForcedClose)
		}
		return
	}
	c.socket = s
	c.stopTimeout()
	c.sess.Bound(0, 0)
	if s.open() {
		if w, ok := s.handler.(Welcomer); ok {
			w.Connected()
		}
	}
}

// refuse answers a CONNECT with the reason why not. The session stays: its
// client may try again within the connect timeout, at whose end it gets a
// DISCONNECT.
func (c *conn) refuse(err error) {
	answer := struct {
		Message string          `json:"message"`
		Data    json.RawMessage `json:"data,omitempty"`
	}{Message: err.Error()}
	if refusal, ok := errors.AsType[*Refusal](err); ok && refusal.Data != nil {
		data, err := text.JSON(refusal.Data)
		if err != nil {
			c.log().Error("data of a refusal cannot be encoded", zap.Error(err))
		}
		answer.Data = data
	}
	payload, err := text.JSON(answer)
	if err != nil {
		panic(err) // a string and valid JSON
	}
	c.refused.Store(true)
	c.sess.Send(engineio.TextPacket([]byte{typeConnectError}, payload))
}

// maxNamespaces bounds the refused namespaces of a client that has not said who
// it is: each is an answer that waits for it.
const maxNamespaces = 50

// refuseNamespace answers a CONNECT to any namespace but the default one, in
// the words of a Node server.
func (c *conn) refuseNamespace(namespace string) {
	if c.socket == nil {
		if c.spaces++; c.spaces > maxNamespaces {
			c.invalidState("CONNECT to too many unknown namespaces")
			return
		}
	}
	c.sess.Send(engineio.TextPacket([]byte{typeConnectError}, []byte(namespace),
		[]byte(`,{"message":"Invalid namespace"}`)))
}
