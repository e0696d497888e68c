package engineio

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/zishang520/socket.io/parsers/engine/v3/packet"
	"github.com/zishang520/socket.io/parsers/engine/v3/parser"
	"github.com/zishang520/socket.io/v3/pkg/types"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// gobwas and the Go library read one packet back unchanged, from a websocket
// and from polling.
func FuzzPacket(f *testing.F) {
	for _, n := range []uint16{0, 1, 124, 125, 126, 65533, 65534, 65535} { // sizes at which the header grows
		f.Add([]byte("a"), n, uint16(3), false)
		f.Add([]byte{0xff}, n, uint16(0), true)
	}
	f.Add([]byte("2[\"e\",\"\u20ac\x1e\"]"), uint16(1), uint16(3), false)
	f.Fuzz(func(t *testing.T, data []byte, times, cutAt uint16, binary bool) {
		data = bytes.Repeat(data, min(int(times), 100_000/(len(data)+1)))
		cut := min(int(cutAt), len(data))
		p, op, carried := BinaryPacket(data), ws.OpBinary, data
		if !binary {
			p, op = TextPacket(data[:cut], nil, data[cut:]), ws.OpText
			carried = append([]byte{typeMessage}, data...)
		}
		rest := bytes.NewReader(p.frame)
		frame, err := readFrame(rest)
		if err != nil || rest.Len() > 0 || ws.CheckHeader(frame.Header, ws.StateClientSide) != nil ||
			!frame.Header.Fin || frame.Header.OpCode != op || !bytes.Equal(frame.Payload, carried) {
			t.Fatalf("%.99q is the frame %.99q: %+v, %d bytes after it, %v", data, p.frame, frame.Header, rest.Len(), err)
		}

		// Text is JSON, which contains no separator and no invalid UTF-8.
		decoded, err := parser.Parserv4().DecodePacket(types.NewStringBuffer(p.appendPayload(nil)))
		if err != nil || decoded.Type != packet.MESSAGE {
			t.Fatalf("%.99q is %.99q on polling: %v", data, p.appendPayload(nil), err)
		}
		if got, _ := io.ReadAll(decoded.Data); !bytes.Equal(got, data) {
			t.Fatalf("%.99q is %.99q on polling", data, got)
		}
		if encoded, ok := bytes.CutPrefix(p.appendPayload([]byte("x")), []byte("x")); !ok || binary && bytes.IndexByte(encoded, separator) >= 0 {
			t.Fatalf("%.99q, appended, is %.99q", data, encoded)
		}
	})
}

// readFrame reads one of our frames with gobwas.
func readFrame(r *bytes.Reader) (f ws.Frame, err error) {
	if f.Header, err = ws.ReadHeader(r); err != nil || f.Header.Length > int64(r.Len()) {
		return f, cmp.Or(err, io.ErrUnexpectedEOF)
	}
	f.Payload = make([]byte, f.Header.Length)
	_, err = io.ReadFull(r, f.Payload)
	return f, err
}

// We read a client's frames as gobwas does: the same messages and control
// frames, up to the same end.
func FuzzFramesAsGobwas(f *testing.F) {
	for _, seed := range [][]byte{
		nil,
		frames(ws.NewTextFrame([]byte("4hello")), ws.NewTextFrame(nil), ws.NewBinaryFrame(nil)),
		frames(ws.NewFrame(ws.OpText, false, []byte("4\xe2")), ws.NewPingFrame([]byte("p")), ws.NewFrame(ws.OpContinuation, true, []byte("\x82\xac"))),
		frames(ws.NewFrame(ws.OpText, false, []byte("\xff")), ws.NewPingFrame([]byte("p")), ws.NewFrame(ws.OpContinuation, true, nil)),
		frames(ws.NewFrame(ws.OpBinary, false, []byte("a")), ws.NewFrame(ws.OpContinuation, false, nil), ws.NewFrame(ws.OpContinuation, true, []byte("b"))),
		frames(ws.NewFrame(ws.OpBinary, false, []byte("a")), ws.NewBinaryFrame([]byte("b"))),
		frames(ws.NewFrame(ws.OpContinuation, true, []byte("a"))),
		frames(ws.NewPingFrame(bytes.Repeat([]byte("p"), 125)), ws.NewPongFrame(nil), ws.NewCloseFrame(ws.NewCloseFrameBody(1000, "bye"))),
		frames(ws.NewFrame(ws.OpPing, false, nil)),
		frames(ws.NewBinaryFrame(make([]byte, 200)), ws.NewTextFrame([]byte("\xed\xa0\x80"))),
		[]byte("\x82\xfe\x00\x051234hello"),
		[]byte("\x82\xff\x00\x00\x00\x00\x00\x00\x00\x051234hello"),
		[]byte("\x89\xfe\x00\x7e0000"), []byte("\x81\x05hello"), []byte("\xc1\x80\x00\x00\x00\x00"),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		ours, ourErr := readByUs(newFrameReader(bytes.NewReader(input), nil))
		theirs, theirErr := readByGobwas(input)
		var breach *frameError
		refused := errors.As(ourErr, &breach) && breach.code != ws.StatusMessageTooBig // gobwas reads on, to the end
		if errors.Is(theirErr, wsutil.ErrInvalidUTF8) {
			// gobwas finds this before the message is complete, and so before
			// the frames between its fragments, or instead of its end.
			for len(ours) > len(theirs) && ws.OpCode(ours[len(ours)-1][0]).IsControl() {
				ours = ours[:len(ours)-1]
			}
		} else if inOrder := errors.Is(theirErr, io.EOF) || errors.Is(theirErr, io.ErrUnexpectedEOF); refused == inOrder {
			t.Fatalf("%q ends with %v, to gobwas with %v", input, ourErr, theirErr)
		}
		if strings.Join(ours, "\n") != strings.Join(theirs, "\n") {
			t.Fatalf("%q is %q, %v; to gobwas %q, %v", input, ours, ourErr, theirs, theirErr)
		}
	})
}

// readByUs returns everything that was read, each payload preceded by its
// opcode.
func readByUs(r *frameReader) (read []string, err error) {
	defer r.release()
	for {
		op, payload, err := r.next(1<<30, unlimited)
		if err != nil {
			return read, err
		}
		read = append(read, string(rune(op))+string(payload))
	}
}

func readByGobwas(input []byte) (read []string, err error) {
	note := func(op ws.OpCode, payload io.Reader, length int64) error {
		b, err := io.ReadAll(payload)
		if err == nil && length >= 0 && int64(len(b)) != length {
			err = io.ErrUnexpectedEOF
		}
		if err == nil {
			read = append(read, string(rune(op))+string(b))
		}
		return err
	}
	r := wsutil.Reader{
		Source: bytes.NewReader(input), State: ws.StateServerSide, CheckUTF8: true,
		OnIntermediate: func(h ws.Header, payload io.Reader) error { return note(h.OpCode, payload, h.Length) },
	}
	for {
		h, err := r.NextFrame()
		if err != nil {
			return read, err
		}
		if err := note(h.OpCode, &r, -1); err != nil {
			return read, err
		}
	}
}

// A silentConn is a connection of which only the writes matter.
type silentConn struct {
	net.Conn // nil
	mu       sync.Mutex
	written  []byte
	closed   bool
}

func (c *silentConn) Read([]byte) (int, error) { return 0, io.EOF }

func (c *silentConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	c.written = append(c.written, b...)
	return len(b), nil
}

func (c *silentConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}

func (c *silentConn) SetReadDeadline(time.Time) error  { return nil }
func (c *silentConn) SetWriteDeadline(time.Time) error { return nil }

// A websocket's session hands on the messages in its frames, answers each ping
// with the same bytes, and finally sends the reason for the end, with a valid
// close code. Nothing after a violation or a close is handed on.
func FuzzWebSocket(f *testing.F) {
	for _, seed := range [][]byte{
		frames(ws.NewTextFrame([]byte("4a")), ws.NewBinaryFrame([]byte("b")), ws.NewTextFrame([]byte("3"))),
		frames(ws.NewPingFrame([]byte("p")), ws.NewPingFrame(nil), ws.NewTextFrame([]byte("4a"))),
		frames(ws.NewPingFrame([]byte("p")), ws.NewPingFrame(nil), ws.NewCloseFrame(nil)),
		frames(ws.NewTextFrame([]byte("1")), ws.NewTextFrame([]byte("4a"))),
		frames(ws.NewTextFrame([]byte("2")), ws.NewTextFrame([]byte("4a"))),
		frames(ws.NewTextFrame(nil)), frames(ws.NewTextFrame([]byte("5"))), frames(ws.NewTextFrame([]byte("9"))),
		frames(ws.NewCloseFrame(ws.NewCloseFrameBody(1001, "bye")), ws.NewTextFrame([]byte("4a"))),
		frames(ws.NewCloseFrame(nil)), frames(ws.NewCloseFrame([]byte{3})), frames(ws.NewCloseFrame([]byte{3, 237})),
		frames(ws.NewCloseFrame(ws.NewCloseFrameBody(1000, "\xff"))),
		frames(ws.NewTextFrame([]byte("4\xff"))), frames(ws.NewFrame(ws.OpText, false, []byte("4a")), ws.NewPingFrame(nil)),
	} {
		f.Add(seed)
	}
	core, complaints := observer.New(zap.ErrorLevel)
	server := NewServer(Config{MaxPayload: 1 << 20, MaxQueue: 1 << 20, WriteTimeout: time.Minute, Logger: zap.New(core)}, nil)
	f.Cleanup(server.Close)
	f.Fuzz(func(t *testing.T, input []byte) {
		receiver, conn := new(noted), new(silentConn)
		session := &Session{server: server, receiver: receiver, conn: conn, maxPayload: 1 << 20}
		session.timer.session = session
		server.open.Add(1)
		server.live.Add(1)
		reader := newFrameReader(bytes.NewReader(input), nil)
		end := notYet
		for end == notYet {
			if end = broken; reader.wait() == nil {
				end = session.readFrames(conn, reader)
			}
		}
		session.endRead(conn, end == inOrder)
		if log := complaints.TakeAll(); len(log) > 0 { // a panic was contained
			t.Errorf("%q: %v", input, log)
		}

		wanted, pongs := expectOf(framesOf(input))
		if got := receiver.log.String(); got != wanted {
			t.Errorf("%q hands on %q, not %q", input, got, wanted)
		}
		answers := bytes.NewReader(conn.written)
		var ponged []string
		for answers.Len() > 0 {
			frame, err := readFrame(answers)
			switch {
			case err != nil || ws.CheckHeader(frame.Header, ws.StateClientSide) != nil:
				t.Fatalf("%q is answered with %q: %v", input, conn.written, err)
			case frame.Header.OpCode == ws.OpPong:
				ponged = append(ponged, string(frame.Payload))
			case frame.Header.OpCode != ws.OpClose || answers.Len() > 0:
				t.Fatalf("%q is answered with %q", input, conn.written)
			case len(frame.Payload) > 0:
				if code, reason := ws.ParseCloseFrameData(frame.Payload); len(frame.Payload) < 2 || ws.CheckCloseFrameData(code, reason) != nil {
					t.Errorf("%q is closed with %q", input, frame.Payload)
				}
			}
		}
		// A connection that breaks loses what was not written yet.
		if end == inOrder && !slices.Equal(ponged, pongs) {
			t.Errorf("%q is ponged %q, not %q", input, ponged, pongs)
		}
	})
}

// framesOf returns the contents of frames; FuzzFramesAsGobwas checks it against
// gobwas.
func framesOf(input []byte) []string {
	read, _ := readByUs(newFrameReader(bytes.NewReader(input), nil))
	return read
}

// messagesOf is framesOf without control frames.
func messagesOf(input []byte) []string {
	return slices.DeleteFunc(framesOf(input), func(r string) bool {
		return ws.OpCode(r[0]) == ws.OpPing || ws.OpCode(r[0]) == ws.OpPong
	})
}

// expectOf returns what a session makes of the contents of frames: the messages
// in the form that noted records, and the pongs.
func expectOf(read []string) (messages string, pongs []string) {
	for _, r := range read {
		payload := r[1:]
		switch ws.OpCode(r[0]) {
		case ws.OpPing:
			pongs = append(pongs, payload)
		case ws.OpClose:
			return messages, pongs
		case ws.OpBinary:
			messages += "\x1eb" + payload
		case ws.OpText:
			decoded, err := parser.Parserv4().DecodePacket(types.NewStringBufferString(payload))
			switch {
			case err != nil || payload[0] == typeBinary:
				return messages, pongs
			case decoded.Type == packet.MESSAGE:
				messages += "\x1e4" + payload[1:]
			case decoded.Type != packet.PONG:
				return messages, pongs
			}
		default: // a pong needs no answer
		}
	}
	return messages, pongs
}
