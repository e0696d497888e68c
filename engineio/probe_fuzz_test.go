package engineio

import (
	"bytes"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// A websocket that probes a session on polling takes the session over if its
// first two messages are the probe and the upgrade; whatever follows belongs to
// the session. Otherwise the session stays on polling, with everything in its
// queue.
func FuzzProbe(f *testing.F) {
	probe, upgrade := ws.NewTextFrame([]byte("2probe")), ws.NewTextFrame([]byte("5"))
	for _, seed := range [][]byte{
		frames(probe, upgrade, ws.NewTextFrame([]byte("4a")), ws.NewCloseFrame(nil)),
		frames(probe, ws.NewPingFrame([]byte("between")), upgrade, ws.NewPingFrame([]byte("p"))),
		frames(ws.NewFrame(ws.OpText, false, []byte("2pr")), ws.NewPongFrame(nil), ws.NewFrame(ws.OpContinuation, true, []byte("obe")), upgrade),
		frames(probe), frames(upgrade), frames(probe, probe, upgrade), frames(probe, ws.NewTextFrame([]byte("4a"))),
		frames(ws.NewBinaryFrame([]byte("2probe")), upgrade), frames(probe, ws.NewBinaryFrame([]byte("5"))),
		frames(ws.NewTextFrame([]byte("2probe2")), upgrade), frames(ws.NewTextFrame([]byte("2"))), frames(probe, ws.NewCloseFrame(nil)), nil,
	} {
		f.Add(seed)
	}
	core, complaints := observer.New(zap.ErrorLevel)
	server := NewServer(Config{MaxPayload: 1 << 20, MaxQueue: 1 << 20, WriteTimeout: time.Minute, UpgradeTimeout: time.Minute, Logger: zap.New(core)}, nil)
	f.Cleanup(server.Close)
	f.Fuzz(func(t *testing.T, input []byte) {
		receiver, conn := new(noted), new(silentConn)
		session := &Session{server: server, receiver: receiver, upgrading: true, maxPayload: 1 << 20}
		session.timer.session = session
		server.open.Add(2) // one for the session, one for the probe
		server.live.Add(1)
		if !session.Send(TextPacket([]byte("waits"))) {
			t.Fatal("the session is not open")
		}
		reader := newFrameReader(bytes.NewReader(input), nil)
		moved := session.awaitUpgrade(conn, reader)

		messages := messagesOf(input)
		want := len(messages) > 1 && messages[0] == string(rune(ws.OpText))+"2probe" && messages[1] == string(rune(ws.OpText))+"5"
		switch {
		case moved != want:
			t.Fatalf("%q moves the session: %t", input, moved)
		case moved:
			server.open.Done()
			end := notYet
			for end == notYet {
				if end = broken; reader.wait() == nil {
					end = session.readFrames(conn, reader)
				}
			}
			session.endRead(conn, end == inOrder)
			if wanted, _ := expectOf(messages[2:]); receiver.log.String() != wanted {
				t.Errorf("%q hands on %q, not %q", input, receiver.log.String(), wanted)
			}
		default:
			reader.release()
			session.endProbe(conn)
			if !conn.closed || session.Transport() != "polling" || session.upgrading || session.probed || len(session.queue) != 1 || receiver.log.Len() > 0 {
				t.Errorf("%q leaves the session with %d packets, upgrading %t", input, len(session.queue), session.upgrading)
			}
			session.Abort(TransportClose)
		}
		if log := complaints.TakeAll(); len(log) > 0 { // a panic was contained
			t.Errorf("%q: %v", input, log)
		}
	})
}
