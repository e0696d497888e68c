package engineio_test

import (
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

func TestAPanicEndsItsSessionAndNoOther(t *testing.T) {
	core, logs := observer.New(zapcore.ErrorLevel)
	cfg := config()
	cfg.Logger = zap.New(core)
	srv := serve(t, cfg, app{
		text: func(s *engineio.Session, payload []byte) {
			if string(payload) == "panic" {
				panic("in Text")
			}
			s.Send(engineio.TextPacket(payload))
		},
		binary: func(*engineio.Session, []byte) { panic("in Binary") },
		closed: func(s *engineio.Session, _ engineio.Reason) {
			if s.Transport() == "websocket" {
				panic("in Closed")
			}
		},
	})
	bystander, other := srv.dial(), srv.openPolling()

	for _, frame := range [][]byte{text("4panic"), rawFrame(fin|2, 3, "abc")} {
		c := srv.dial()
		p := srv.peer(c.SID)
		c.write(frame)
		c.ends()
		p.endsWith(engineio.ForcedClose)
	}
	for _, payload := range []string{"4panic", "bAQID", "4a\x1e4panic\x1e4not heard"} {
		client := srv.openPolling()
		p := srv.peer(client.SID)
		answers := client.pending()
		client.post(payload)
		p.endsWith(engineio.ForcedClose)
		<-answers
		client.gets(400, "")
	}

	bystander.send("4hello")
	bystander.gets("4hello")
	other.posts("4hello", 200)
	other.gets(200, "4hello")
	eventually(t, "the sessions are gone", func() bool { return srv.Len() == 2 && len(srv.Sessions()) == 2 })
	if n := logs.FilterMessage("panic in a session").Len(); n != 7 { // five, and two in Closed
		t.Errorf("%d panics were logged, not 7", n)
	}
}
