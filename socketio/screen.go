package socketio

import (
	"bytes"
	"encoding/json"
)

// shortEvent is the largest payload, in bytes, that is parsed before the event
// is screened: short enough that parsing costs no more than an answer.
const shortEvent = 512

// event handles the text of an event, on the default namespace of a connected
// socket.
func (c *conn) event(p packet) {
	screener, _ := c.socket.handler.(Screener)
	if screener != nil && (p.attachments > 0 || len(p.payload) > shortEvent) {
		e, err := peekEvent(c.socket, p)
		if err != nil {
			c.parseError(err)
			return
		}
		if e.Refused = screener.Screen(e); e.Refused != nil {
			if p.attachments > 0 {
				c.pending = newCount(p, e)
				return
			}
			c.begin(c.socket.handler.Event(e))
			return
		}
		screener = nil // already asked
	}
	if err := p.checkPayload(); err != nil {
		c.parseError(err)
		return
	}
	if p.attachments > 0 {
		c.pending = newAssembly(p)
		return
	}
	c.deliver(p, nil, screener)
}

// assembled handles a packet whose attachments have all arrived.
func (c *conn) assembled(a *assembly) {
	switch {
	case a.refused != nil:
		c.begin(c.socket.handler.Event(a.refused))
	case a.packet.isEvent():
		c.deliver(a.packet, a.attachments, nil)
	}
}

// deliver hands a complete event to the application, which can refuse it first.
func (c *conn) deliver(p packet, attachments [][]byte, screener Screener) {
	e, err := newEvent(c.socket, p, attachments)
	if err != nil {
		c.parseError(err)
		return
	}
	if screener != nil {
		e.Refused = screener.Screen(e)
	}
	c.begin(c.socket.handler.Event(e))
}

// peekEvent reads only the name of an event, and at most shortEvent bytes of
// it. The rest need not even be JSON.
func peekEvent(s *Socket, p packet) (*Event, error) {
	e := newHead(s, p)
	if p.payload == nil {
		return e, nil
	}
	if err := p.payloadBeginsWith("["); err != nil {
		return nil, err
	}
	text := bytes.TrimLeft(p.payload[1:], jsonSpace)
	text = text[:min(len(text), shortEvent)]
	if len(text) == 0 {
		return nil, errEventName
	}
	var end int
	switch c := text[0]; {
	case c == '"':
		end = closingQuote(text)
	case c == '-', '0' <= c && c <= '9':
		end = bytes.IndexAny(text, ",]")
	default:
		return nil, errEventName
	}
	if end < 0 {
		return e, nil // longer than any name of interest
	}
	first := bytes.TrimRight(text[:end], jsonSpace)
	if !json.Valid(first) {
		return nil, errJSON
	}
	var err error
	e.Name, err = eventName(first)
	return e, err
}

// closingQuote returns the index after the string that text begins with, or -1
// if the string does not end in text.
func closingQuote(text []byte) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}
