package socketio

import (
	"bytes"
	"encoding/json"
	"errors"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
)

// A Refusal is an error of Handler.Connect with data for the client's code: a
// stock client gets it as err.data in connect_error.
type Refusal struct {
	Message string // for people
	Data    any    // anything that encodes as JSON; nil means none
}

func (r *Refusal) Error() string { return r.Message }

// errAuth refuses a CONNECT whose auth is JSON but not an object. The protocol
// allows only objects; a reason helps the developer more than a dropped
// connection.
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
// The connect timeout keeps running while the application decides, and after a
// refusal: it bounds how long a session can exist without being admitted,
// however often it asks.
func (c *conn) connect(p packet) {
	c.refused.Store(false)
	// A number as auth looks like an acknowledgement id.
	if p.wantsAck || p.payload != nil && p.payload[0] != '{' {
		c.refuse(errAuth)
		return
	}
	s := newSocket(c.sess)
	s.log = c.log()
	s.handler = c.server.accept(s)
	if err := s.handler.Connect(bytes.Clone(p.payload)); err != nil { // the payload's text is only borrowed
		c.refuse(err)
		if s.gone() { // the application also asked for a disconnect
			c.close(engineio.ForcedClose)
		}
		return
	}
	c.socket = s
	c.stopTimeout()
	if !s.Opened() {
		s.Open("", "")
	}
	if w, ok := s.handler.(Welcomer); ok && !s.gone() {
		w.Connected()
	}
}

// refuse answers a CONNECT with the reason for its refusal. The session stays
// open: its client can try again within the connect timeout, and gets a
// DISCONNECT at the end of it.
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

// maxNamespaces bounds the refused namespaces of an unauthenticated client,
// because each leaves an answer in its queue.
const maxNamespaces = 50

// refuseNamespace answers a CONNECT to any namespace other than the default, in
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
