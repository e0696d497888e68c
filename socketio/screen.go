package socketio

import (
	"bytes"
	"encoding/json"
)

// shortEvent is how long an event's payload may be for it to be parsed before
// it is screened, in bytes: so short that this costs no more than an answer.
const shortEvent = 512

// event takes the text of an event, on the default namespace of a connected
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
		screener = nil // it has been asked
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

// assembled takes a packet whose attachments have all come.
func (c *conn) assembled(a *assembly) {
	switch {
	case a.refused != nil:
		c.begin(c.socket.handler.Event(a.refused))
	case a.packet.isEvent():
		c.deliver(a.packet, a.attachments, nil)
	}
}

// deliver hands a whole event to the application, which may refuse it first.
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

// peekEvent reads no more of an event than its name, and of that no more than
// shortEvent. What it does not look at need not even be JSON.
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
		return e, nil // longer than any that is of interest
	}
	first := bytes.TrimRight(text[:end], jsonSpace)
	if !json.Valid(first) {
		return nil, errJSON
	}
	var err error
	e.Name, err = eventName(first)
	return e, err
}

// closingQuote returns the index behind the string that text begins with, -1 if
// that does not end in it.
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
