package engineio

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"sync"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// closeCode is a websocket status code (RFC 6455, section 7.4.1).
type closeCode = ws.StatusCode

const (
	closeNormal    = ws.StatusNormalClosure
	closeGoingAway = ws.StatusGoingAway
)

// A frameError is a violation of the websocket protocol or of a limit, with the
// code to close with.
type frameError struct {
	code closeCode
	text string
}

func (e *frameError) Error() string { return e.text }

// readBuffer is the size of an idle websocket's read buffer, in bytes.
const readBuffer = 512

// A frameReader reads whole messages and control frames from a client. It
// strictly checks masks, reserved bits, opcodes, fragments, control frames,
// UTF-8 and size.
type frameReader struct {
	src     *bufio.Reader
	state   ws.State
	header  [ws.MaxHeaderSize]byte
	control [ws.MaxControlFramePayloadSize]byte
	op      ws.OpCode // of the message in progress
	message *[]byte   // the message in progress, or nil
}

// newFrameReader returns a reader that first reads what came with the
// handshake.
func newFrameReader(conn io.Reader, early []byte) *frameReader {
	if len(early) > 0 {
		conn = &earlyReader{early: early, rest: conn}
	}
	return &frameReader{src: bufio.NewReaderSize(conn, readBuffer), state: ws.StateServerSide}
}

// wait returns when there is something to read, or an error if there never
// will be.
func (f *frameReader) wait() error {
	_, err := f.src.Peek(1)
	return err
}

// idle reports whether everything received has been read, with no message left
// incomplete.
func (f *frameReader) idle() bool { return f.src.Buffered() == 0 && !f.state.Fragmented() }

// next returns a control frame, or a complete message of at most limit bytes.
// The payload is valid until the next call. next calls tally for every frame,
// because a message can have any number of them, and returns errFlood once
// tally returns false.
func (f *frameReader) next(limit int, tally func() bool) (ws.OpCode, []byte, error) {
	if f.message != nil && !f.state.Fragmented() {
		f.release()
	}
	for {
		h, err := ws.ReadHeaderBuffer(f.src, f.header[:])
		if errors.Is(err, ws.ErrHeaderLengthMSB) || errors.Is(err, ws.ErrHeaderLengthUnexpected) {
			return 0, nil, &frameError{ws.StatusProtocolError, err.Error()}
		}
		if err != nil {
			return 0, nil, err
		}
		if err := ws.CheckHeader(h, f.state); err != nil {
			return 0, nil, &frameError{ws.StatusProtocolError, err.Error()}
		}
		if !tally() {
			return 0, nil, errFlood
		}
		if h.OpCode.IsControl() {
			payload := f.control[:h.Length]
			if _, err := io.ReadFull(f.src, payload); err != nil {
				return 0, nil, err
			}
			ws.Cipher(payload, h.Mask, 0)
			return h.OpCode, payload, nil
		}
		if err := f.readFragment(h, limit); err != nil {
			return 0, nil, err
		}
		if !h.Fin {
			f.state = f.state.Set(ws.StateFragmented)
			continue
		}
		f.state = f.state.Clear(ws.StateFragmented)
		if f.op == ws.OpText && !utf8.Valid(*f.message) {
			return 0, nil, &frameError{ws.StatusInvalidFramePayloadData, "text is not UTF-8"}
		}
		return f.op, *f.message, nil
	}
}

// readStep is how much of a frame is allocated before it has arrived, so that a
// length that is only claimed costs nothing.
const readStep = 16 << 10

// readFragment appends one frame's payload to the message.
func (f *frameReader) readFragment(h ws.Header, limit int) error {
	if f.message == nil {
		f.op = h.OpCode
		f.message = messages.Get().(*[]byte)
	}
	b := *f.message
	if h.Length > int64(limit-len(b)) {
		return &frameError{ws.StatusMessageTooBig, "message is over maxPayload"}
	}
	first := len(b)
	for left := int(h.Length); left > 0; {
		step := min(left, readStep)
		b = slices.Grow(b, step)
		n, err := io.ReadFull(f.src, b[len(b):len(b)+step])
		b = b[:len(b)+n]
		*f.message = b
		if err != nil {
			return err
		}
		left -= step
	}
	ws.Cipher(b[first:], h.Mask, 0)
	return nil
}

// messages holds buffers for messages being read. Idle clients hold none.
var messages = sync.Pool{New: func() any { return new([]byte) }}

// release returns the message's buffer to the pool, unless it grew large.
func (f *frameReader) release() {
	if f.message != nil && cap(*f.message) <= readStep {
		*f.message = (*f.message)[:0]
		messages.Put(f.message)
	}
	f.message = nil
}

// An earlyReader reads the rest of the handshake's buffer, then the connection.
type earlyReader struct {
	early []byte
	rest  io.Reader
}

func (r *earlyReader) Read(p []byte) (int, error) {
	if len(r.early) == 0 {
		r.early = nil
		return r.rest.Read(p)
	}
	n := copy(p, r.early)
	r.early = r.early[n:]
	return n, nil
}

// closeFrame encodes a close frame, which is queued like any packet.
func closeFrame(code closeCode) *Packet {
	if code == ws.StatusNoStatusRcvd {
		return encode(ws.OpClose, 0, nil)
	}
	return encode(ws.OpClose, 0, [][]byte{ws.NewCloseFrameBody(code, "")})
}
