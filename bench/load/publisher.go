package load

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// A publisher sends publishes over one kept-alive HTTP/1.1 connection.
type publisher struct {
	conn     net.Conn
	answers  *bufio.Reader
	request  []byte
	channels []int // where in the request each message's channel is
	stamps   []int // and the time
}

// newPublisher returns one whose requests have so many messages.
func newPublisher(t *Target, size, batch int) (*publisher, error) {
	conn, err := t.dial()
	if err != nil {
		return nil, err
	}
	body := `{"channel":"` + Channel(0) + `","event":"e","data":` + payload(size) + `}`
	if batch > 1 {
		body = `{"messages":[` + strings.Repeat(","+body, batch)[1:] + `]}`
	}
	p := &publisher{conn: conn, answers: bufio.NewReaderSize(conn, 16<<10), request: []byte("POST /publish HTTP/1.1\r\nHost: " + t.Addr +
		"\r\nContent-Type: application/json\r\n" + t.Headers +
		"Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)}
	at := len(p.request) - len(body)
	for range batch {
		at += bytes.Index(p.request[at:], []byte(Channel(0)))
		p.channels = append(p.channels, at)
		at += bytes.Index(p.request[at:], []byte(mark)) + len(mark)
		p.stamps = append(p.stamps, at)
	}
	return p, nil
}

// batch is how many messages each request has.
func (p *publisher) batch() int { return len(p.channels) }

// publish sends messages to so many channels in turn, from the n-th on. It
// returns once the server has answered.
func (p *publisher) publish(n, channels int) error {
	at := now()
	for i := range p.channels {
		copy(p.request[p.channels[i]:], Channel((n+i)%channels))
		putStamp(p.request[p.stamps[i]:], at)
	}
	if _, err := p.conn.Write(p.request); err != nil {
		return err
	}
	return p.answer()
}

// answer reads a response that has a Content-Length, as all of these have.
func (p *publisher) answer() error {
	status, length := "", -1
	for {
		line, err := p.answers.ReadSlice('\n')
		if err != nil {
			return err
		}
		text := bytes.TrimRight(line, "\r\n")
		switch name, value, _ := bytes.Cut(text, []byte(":")); {
		case len(text) == 0:
			if length < 0 {
				return fmt.Errorf("an answer without Content-Length: %s", status)
			}
			if !strings.HasPrefix(status, "HTTP/1.1 2") {
				body, _ := p.answers.Peek(min(length, 500))
				return fmt.Errorf("publish: %s: %s", status, body)
			}
			_, err := p.answers.Discard(length)
			return err
		case status == "":
			status = string(text)
		case len(name) == len("content-length") && bytes.EqualFold(name, []byte("content-length")):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
}

// Publish sends n messages of that size, one after the other, to so many channels
// in turn.
func Publish(t *Target, n, channels, size int) error {
	p, err := newPublisher(t, size, 1)
	if err != nil {
		return err
	}
	defer p.close()
	for i := range n {
		if err := p.publish(i, channels); err != nil {
			return err
		}
	}
	return nil
}

func (p *publisher) close() { _ = p.conn.Close() }
