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
	conn    net.Conn
	answers *bufio.Reader
	request []byte
	channel int // where in the request the channel's name is
	stamp   int // and the time
}

func newPublisher(t *Target, size int) (*publisher, error) {
	conn, err := t.dial()
	if err != nil {
		return nil, err
	}
	body := `{"channel":"` + Channel(0) + `","event":"e","data":` + payload(size) + `}`
	p := &publisher{conn: conn, answers: bufio.NewReader(conn), request: []byte("POST /publish HTTP/1.1\r\nHost: " + t.Addr +
		"\r\nContent-Type: application/json\r\n" + t.Headers +
		"Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)}
	p.channel = bytes.LastIndex(p.request, []byte(Channel(0)))
	p.stamp = bytes.LastIndex(p.request, []byte(mark)) + len(mark)
	return p, nil
}

// publish returns once the server has answered.
func (p *publisher) publish(channel string) error {
	copy(p.request[p.channel:], channel)
	putStamp(p.request[p.stamp:], now())
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

func (p *publisher) close() { _ = p.conn.Close() }
