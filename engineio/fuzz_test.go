package engineio

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"github.com/zishang520/socket.io/parsers/engine/v3/packet"
	"github.com/zishang520/socket.io/parsers/engine/v3/parser"
	"github.com/zishang520/socket.io/v3/pkg/types"
	"go.uber.org/zap"
)

func frames(list ...ws.Frame) (b []byte) {
	for _, f := range list {
		b = append(b, ws.MustCompileFrame(ws.MaskFrameWith(f, [4]byte{1, 2, 3, 4}))...)
	}
	return b
}

// Whatever arrives, messages are within the limits, and do not depend on how
// the bytes were split.
func FuzzFrames(f *testing.F) {
	f.Add([]byte(nil), 0, 10)
	f.Add(frames(ws.NewTextFrame([]byte("4hello"))), 3, 100)
	f.Add(frames(ws.NewFrame(ws.OpText, false, []byte("4\xe2")), ws.NewPingFrame([]byte("p")), ws.NewFrame(ws.OpContinuation, true, []byte("\x82\xac"))), 1, 100)
	f.Add(frames(ws.NewBinaryFrame(bytes.Repeat([]byte{1}, 200)), ws.NewCloseFrame(ws.NewCloseFrameBody(1000, "bye"))), 100, 200)
	f.Add(frames(ws.NewBinaryFrame(make([]byte, 3000))), 100, 1<<20)
	f.Add([]byte("\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff0000"), 0, 1<<20)
	f.Add([]byte("\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff0000"), 0, 1<<20)
	f.Add([]byte("\x81\x05hello"), 0, 100)
	f.Add([]byte("\xc1\x80\x00\x00\x00\x00"), 2, 100)
	f.Add([]byte("\x89\xfe\x00\x7e0000"), 2, 100)
	f.Fuzz(func(t *testing.T, input []byte, early, limit int) {
		if limit < 0 || limit > 1<<20 || early < 0 {
			return
		}
		early = min(early, len(input))
		whole := readFuzzed(t, newFrameReader(bytes.NewReader(input[early:]), bytes.Clone(input[:early])), limit)
		cut := readFuzzed(t, newFrameReader(iotest.OneByteReader(bytes.NewReader(input)), nil), limit)
		if whole != cut {
			t.Errorf("%q, but byte by byte %q", whole, cut)
		}
	})
}

// unlimited accepts any number of frames.
func unlimited() bool { return true }

// readFuzzed reads to the end and returns everything as text.
func readFuzzed(t *testing.T, r *frameReader, limit int) string {
	t.Helper()
	var log strings.Builder
	for {
		op, payload, err := r.next(limit, unlimited)
		var breach *frameError
		switch {
		case errors.As(err, &breach):
			if ws.CheckCloseFrameData(breach.code, "") != nil {
				t.Errorf("closing with %d", breach.code)
			}
			log.WriteString(breach.text)
			r.release()
			return log.String()
		case err != nil:
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("a reader that only ends gives %v", err)
			}
			r.release()
			return log.String()
		case op.IsControl() && len(payload) > 125, op.IsData() && len(payload) > limit:
			t.Errorf("%d bytes of opcode %d", len(payload), op)
		case op == ws.OpText && !utf8.Valid(payload):
			t.Errorf("text that is not UTF-8: %q", payload)
		case !op.IsControl() && op != ws.OpText && op != ws.OpBinary:
			t.Errorf("opcode %d", op)
		}
		log.WriteByte(byte(op))
		log.Write(payload)
	}
}

// noted is a receiver that keeps what it gets.
type noted struct{ log strings.Builder }

func (n *noted) Text(payload []byte)   { n.log.WriteString("\x1e4" + string(payload)) }
func (n *noted) Binary(payload []byte) { n.log.WriteString("\x1eb" + string(payload)) }
func (n *noted) Closed(Reason)         {}

// The Go library's decoder is a second opinion.
func FuzzPayload(f *testing.F) {
	for _, seed := range []string{
		"", "4", "4hello", "4a\x1e4b", "4a\x1e", "\x1e4a", "4a\x1e\x1e4b", "bAQID", "bAQI", "b", "b*", "bAQ==\x1e4\u20ac",
		"4\xff", "3", "1\x1e4a", "2", "5", "6", "0", "abc", "4a\x1eabc", "b\nAQ==", "3\xff",
	} {
		f.Add([]byte(seed))
	}
	server := NewServer(Config{Logger: zap.NewNop()}, nil)
	f.Cleanup(server.Close)
	f.Fuzz(func(t *testing.T, body []byte) {
		receiver := new(noted)
		session := &Session{server: server, receiver: receiver, posting: true}
		session.timer.session = session
		server.open.Add(1)
		server.live.Add(1)
		taken := session.take(body) == nil
		got := receiver.log.String()
		session.Abort(TransportClose)

		want, valid := decodeAsTheLibrary(body)
		if taken != valid || valid && got != want {
			t.Errorf("%q gives %q, %t; the library %q, %t", body, got, taken, want, valid)
		}
		if !utf8.ValidString(strings.Join(strings.Split(got, "\x1eb")[:1], "")) {
			t.Errorf("text that is not UTF-8: %q", got)
		}
	})
}

// decodeAsTheLibrary returns what a payload holds, and whether everything in
// it, up to a close, is allowed in a POST.
func decodeAsTheLibrary(body []byte) (string, bool) {
	var want strings.Builder
	for part := range bytes.SplitSeq(body, []byte{separator}) {
		packets, err := parser.Parserv4().DecodePayload(types.NewStringBuffer(part))
		if err != nil || len(packets) != 1 {
			return want.String(), false
		}
		payload, _ := io.ReadAll(packets[0].Data)
		_, text := packets[0].Data.(*types.StringBuffer)
		switch {
		case packets[0].Type == packet.CLOSE:
			return want.String(), true
		case packets[0].Type == packet.PONG:
		case packets[0].Type != packet.MESSAGE, text && !utf8.Valid(payload):
			return want.String(), false
		case text:
			want.WriteString("\x1e4" + string(payload))
		default:
			want.WriteString("\x1eb" + string(payload))
		}
	}
	return want.String(), true
}

func FuzzHandshake(f *testing.F) {
	for _, seed := range []string{
		"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13",
		"Upgrade: a, WebSocket\r\nConnection: keep-alive,upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13",
		"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\nSec-WebSocket-Version: 13",
		"Upgrade: web\u017foc\u212aet\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13",
		"Upgrade:\r\nConnection: ,\r\nSec-WebSocket-Key:\r\nSec-WebSocket-Version: 12",
		"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: a\r\nSec-WebSocket-Key: b\r\nContent-Length: 5",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, headers string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET / HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n\r\n")))
		if err != nil {
			return
		}
		key := handshakeKey(r)
		if key == "" {
			return
		}
		nonce, err := base64.StdEncoding.DecodeString(key)
		if err != nil || len(nonce) != 16 || strings.ContainsAny(key, "\r\n") {
			t.Errorf("the key %q", key)
		}
		if r.ContentLength != 0 || !strings.EqualFold(r.Header.Get("Sec-Websocket-Version"), "13") ||
			!strings.Contains(strings.ToLower(strings.Join(r.Header["Connection"], ",")), "upgrade") ||
			!strings.Contains(strings.ToLower(strings.Join(r.Header["Upgrade"], ",")), "websocket") {
			t.Errorf("a handshake with %q", headers)
		}
	})
}
