package engineio_test

import (
	"encoding/binary"
	"net"
	"runtime"
	"testing"

	"github.com/gobwas/ws"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

// rawFrame encodes a masked frame with any header; the mask is zero.
func rawFrame(first byte, length int, payload string) []byte {
	frame := []byte{first, 0x80}
	switch {
	case length >= 0 && length < 126:
		frame[1] |= byte(length)
	case length >= 0 && length < 1<<16:
		frame[1] |= 126
		frame = binary.BigEndian.AppendUint16(frame, uint16(length))
	default:
		frame[1] |= 127
		frame = binary.BigEndian.AppendUint64(frame, uint64(length))
	}
	return append(append(frame, 0, 0, 0, 0), payload...)
}

func joined(frames ...[]byte) (b []byte) {
	for _, f := range frames {
		b = append(b, f...)
	}
	return b
}

const fin = 0x80

func TestBreachesOfTheProtocol(t *testing.T) {
	const (
		protocol = ws.StatusProtocolError
		invalid  = ws.StatusInvalidFramePayloadData
		tooBig   = ws.StatusMessageTooBig
		policy   = ws.StatusPolicyViolation
	)
	cfg := config()
	cfg.MaxPayload = 1000
	srv := serve(t, cfg, app{})
	for name, test := range map[string]struct {
		frames []byte
		code   ws.StatusCode
	}{
		"unmasked text":                   {ws.MustCompileFrame(ws.NewTextFrame([]byte("4a"))), protocol},
		"unmasked ping":                   {ws.MustCompileFrame(ws.NewPingFrame(nil)), protocol},
		"unmasked close":                  {ws.MustCompileFrame(ws.NewCloseFrame(nil)), protocol},
		"reserved bit 1":                  {rawFrame(fin|0x40|1, 2, "4a"), protocol},
		"reserved bit 2":                  {rawFrame(fin|0x20|1, 2, "4a"), protocol},
		"reserved bit 3":                  {rawFrame(fin|0x10|1, 2, "4a"), protocol},
		"reserved bit, ping":              {rawFrame(fin|0x40|9, 0, ""), protocol},
		"reserved opcode 3":               {rawFrame(fin|3, 0, ""), protocol},
		"reserved opcode 7":               {rawFrame(fin|7, 0, ""), protocol},
		"reserved opcode 11":              {rawFrame(fin|11, 0, ""), protocol},
		"reserved opcode 15":              {rawFrame(fin|15, 0, ""), protocol},
		"long ping":                       {rawFrame(fin|9, 126, string(fill(126))), protocol},
		"long pong":                       {rawFrame(fin|10, 126, string(fill(126))), protocol},
		"long close":                      {rawFrame(fin|8, 126, "\x03\xe8"+string(fill(124))), protocol},
		"huge ping":                       {rawFrame(fin|9, 1<<40, ""), protocol},
		"fragmented ping":                 {rawFrame(9, 0, ""), protocol},
		"fragmented close":                {rawFrame(8, 0, ""), protocol},
		"stray continuation":              {rawFrame(fin, 1, "a"), protocol},
		"text within text":                {joined(rawFrame(1, 2, "4a"), rawFrame(fin|1, 2, "4b")), protocol},
		"binary within text":              {joined(rawFrame(1, 2, "4a"), rawFrame(fin|2, 2, "4b")), protocol},
		"continuation of a whole message": {joined(rawFrame(fin|1, 2, "4a"), rawFrame(fin, 2, "4b")), protocol},
		"length with its top bit set":     {rawFrame(fin|1, -1, "4a"), protocol},

		"text is not UTF-8":       {rawFrame(fin|1, 2, "4\xff"), invalid},
		"text ends in a rune":     {rawFrame(fin|1, 3, "4\xe2\x82"), invalid},
		"text is overlong":        {rawFrame(fin|1, 3, "4\xc0\xaf"), invalid},
		"text has a surrogate":    {rawFrame(fin|1, 4, "4\xed\xa0\x80"), invalid},
		"fragments not UTF-8":     {joined(rawFrame(1, 3, "4\xe2\x82"), rawFrame(fin, 1, "a")), invalid},
		"fragments end in a rune": {joined(rawFrame(1, 1, "4"), rawFrame(0, 1, "\xe2"), rawFrame(fin, 1, "\x82")), invalid},

		"text over the limit":      {rawFrame(fin|1, 1001, "4"), tooBig},
		"binary over the limit":    {rawFrame(fin|2, 1001, ""), tooBig},
		"a length of 64 KB":        {rawFrame(fin|1, 1<<16, "4"), tooBig},
		"a length of 2^63-1":       {rawFrame(fin|1, 1<<63-1, "4"), tooBig},
		"fragments over the limit": {joined(rawFrame(2, 900, string(fill(900))), rawFrame(fin, 101, "")), tooBig},
		"a fragment of 2^63-1":     {joined(rawFrame(2, 900, string(fill(900))), rawFrame(0, 1<<63-1, "")), tooBig},

		"empty text":        {rawFrame(fin|1, 0, ""), policy},
		"empty fragments":   {joined(rawFrame(1, 0, ""), rawFrame(0, 0, ""), rawFrame(fin, 0, "")), policy},
		"unknown type":      {text("abc"), policy},
		"unknown digit":     {text("7"), policy},
		"open packet":       {text("0"), policy},
		"ping packet":       {text("2"), policy},
		"upgrade packet":    {text("5"), policy},
		"noop packet":       {text("6"), policy},
		"polling's binary":  {text("bAQID"), policy},
		"polling's payload": {text("\x1e4a"), policy},

		"close of one byte":      {rawFrame(fin|8, 1, "\x03"), protocol},
		"close 0":                {rawFrame(fin|8, 2, "\x00\x00"), protocol},
		"close 999":              {rawFrame(fin|8, 2, "\x03\xe7"), protocol},
		"close 1004":             {rawFrame(fin|8, 2, "\x03\xec"), protocol},
		"close 1005":             {rawFrame(fin|8, 2, "\x03\xed"), protocol},
		"close 1006":             {rawFrame(fin|8, 2, "\x03\xee"), protocol},
		"close 1015":             {rawFrame(fin|8, 2, "\x03\xf7"), protocol},
		"close 1100":             {rawFrame(fin|8, 2, "\x04\x4c"), protocol},
		"close 2999":             {rawFrame(fin|8, 2, "\x0b\xb7"), protocol},
		"close reason not UTF-8": {rawFrame(fin|8, 3, "\x03\xe8\xff"), protocol},
	} {
		t.Run(name, func(t *testing.T) {
			c := srv.dial()
			c.t = t
			p := srv.peer(c.SID)
			c.write(joined(text("4before"), test.frames, text("4not heard")))
			c.gets("4before")
			c.closeFrame(test.code)
			if err := c.conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Error(err)
			}
			c.ends()
			p.endsWith(engineio.ParseError)
		})
	}
}

// A client that keeps sending is not read for long.
func TestABreachIsNotWaitedOn(t *testing.T) {
	srv := serve(t, config(), app{})
	c := srv.dial()
	p := srv.peer(c.SID)
	c.send("abc")
	c.closeFrame(ws.StatusPolicyViolation)
	for {
		if _, err := c.conn.Write(text("4hello")); err != nil {
			break
		}
	}
	p.endsWith(engineio.ParseError)
}

func TestFramesAtTheLimit(t *testing.T) {
	cfg := config()
	cfg.MaxPayload = 1000
	srv := serve(t, cfg, app{})
	c := srv.dial()
	message := "4" + string(fill(999))
	for range 3 {
		c.send(message)
		c.gets(message)
		c.write(joined(rawFrame(1, 500, message[:500]), rawFrame(fin, 500, message[500:])))
		c.gets(message)
	}
}

// A length that is only claimed costs nothing.
func TestClaimedLengthsTakeNoMemory(t *testing.T) {
	cfg := config()
	cfg.MaxPayload = 1 << 30
	srv := serve(t, cfg, app{})
	before := heap()
	const clients = 50
	for range clients {
		c := srv.dial()
		c.write(rawFrame(fin|2, 1<<30, "a"))
	}
	// A frame on another connection, sent later, shows that they were read.
	c := srv.dial()
	c.send("4hello")
	c.gets("4hello")
	if grown := heap() - before; grown > clients*100<<10 {
		t.Errorf("%d bytes for each frame that claims 1 GB", grown/clients)
	}
}

// heap returns the memory in use.
func heap() int64 {
	runtime.GC()
	runtime.GC() // pools need two collections
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
