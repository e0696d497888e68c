package engineio_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

func TestPollingCarriesMessages(t *testing.T) {
	for proto, srv := range map[string]*server{
		"HTTP/1.1": serve(t, config(), app{}),
		"HTTP/2":   serveTLS(t, config(), app{}),
	} {
		t.Run(proto, func(t *testing.T) {
			p := srv.openPolling()
			for name, payload := range map[string]string{
				"text":      "4hello",
				"empty":     "4",
				"Unicode":   "4\u20ac \U0001f600 \x00",
				"several":   "4a\x1e4b\x1e4",
				"binary":    "bAQIDBA==",
				"no bytes":  "b",
				"mixed":     "4a\x1ebAQ==\x1e4c",
				"large":     "4" + strings.Repeat("x", 1e6-1),
				"thousands": strings.TrimSuffix(strings.Repeat("4\x1e", 5000), "\x1e"),
			} {
				t.Run(name, func(t *testing.T) {
					p.posts(payload, 200)
					p.gets(200, payload)
				})
			}
		})
	}
}

func TestAPollThatWaitsIsAnsweredAtOnce(t *testing.T) {
	srv := serve(t, config(), app{})
	p := srv.openPolling()
	answers := p.pending()
	p.posts("4hello", 200)
	is(t, answers, 200, "4hello")
}

func TestWebSocketCarriesMessages(t *testing.T) {
	for proto, srv := range map[string]*server{
		"plain": serve(t, config(), app{}),
		"TLS":   serveTLS(t, config(), app{}),
	} {
		t.Run(proto, func(t *testing.T) {
			c := srv.dial()
			for _, payload := range []string{"4hello", "4", "4\u20ac \U0001f600 \x00", "4" + strings.Repeat("x", 1e6-1)} {
				c.send(payload)
				c.gets(payload)
			}
			for _, size := range []int{0, 1, 125, 126, 127, 65535, 65536, 1e6} {
				data := bytes.Repeat([]byte{0xff}, size)
				c.write(masked(ws.NewBinaryFrame(data)))
				if f, err := c.next(); err != nil || f.Header.OpCode != ws.OpBinary || !bytes.Equal(f.Payload, data) {
					t.Fatalf("%d bytes: %+v, %d bytes: %v", size, f.Header, len(f.Payload), err)
				}
			}
		})
	}
}

func TestFragmentsAreJoined(t *testing.T) {
	srv := serve(t, config(), app{})
	c := srv.dial()
	euro := "4\u20ac"
	for i := range len(euro) + 1 { // also within a character
		c.write(masked(ws.NewFrame(ws.OpText, false, []byte(euro[:i]))))
		c.write(masked(ws.NewPingFrame([]byte("between"))))
		c.write(masked(ws.NewFrame(ws.OpContinuation, false, nil)))
		c.write(masked(ws.NewFrame(ws.OpContinuation, true, []byte(euro[i:]))))
		if f, err := c.next(); err != nil || f.Header.OpCode != ws.OpPong || string(f.Payload) != "between" {
			t.Fatalf("no pong but %+v: %v", f, err)
		}
		c.gets(euro)
	}
	c.write(masked(ws.NewFrame(ws.OpBinary, false, []byte{1})))
	c.write(masked(ws.NewFrame(ws.OpContinuation, true, []byte{2})))
	if f, err := c.next(); err != nil || f.Header.OpCode != ws.OpBinary || !bytes.Equal(f.Payload, []byte{1, 2}) {
		t.Fatalf("%+v: %v", f, err)
	}
}

// One byte at a time, as over a slow network.
func TestFramesMayTrickleIn(t *testing.T) {
	srv := serve(t, config(), app{})
	c := srv.dial()
	for _, b := range append(text("4hello"), text("4"+strings.Repeat("x", 200))...) {
		c.write([]byte{b})
	}
	c.gets("4hello")
	c.gets("4" + strings.Repeat("x", 200))
}

func TestWebSocketPingsAreAnsweredAndPongsIgnored(t *testing.T) {
	srv := serve(t, config(), app{})
	c := srv.dial()
	for _, payload := range []string{"", "hello", strings.Repeat("x", 125)} {
		c.write(masked(ws.NewPongFrame([]byte(payload))))
		c.write(masked(ws.NewPingFrame([]byte(payload))))
		if f, err := c.next(); err != nil || f.Header.OpCode != ws.OpPong || string(f.Payload) != payload {
			t.Errorf("%+v: %v", f, err)
		}
	}
}
