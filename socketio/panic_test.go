package socketio_test

import (
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/seed-c079cc48/caddy-realtime/socketio"
)

// In the Go library, a panic in a middleware or a disconnect handler ends the
// process.
func TestPanicInAHandlerHarmsNobodyElse(t *testing.T) {
	for name, at := range map[string]string{
		"accept": "", "Connect": "", "Connected": "forced close", "Event": "forced close", "Disconnect": "client namespace disconnect",
	} {
		t.Run(name, func(t *testing.T) {
			core, logs := observer.New(zap.ErrorLevel)
			sockets := make(chan *socketio.Socket, 2)
			reasons := make(chan string, 2)
			var victim atomic.Pointer[socketio.Socket] // the second socket
			fault := func(where string, s *socketio.Socket) {
				if where == name && s == victim.Load() {
					panic("fault")
				}
			}
			srv := serve(t, app{
				logger: zap.New(core),
				accept: func(s *socketio.Socket) {
					if len(sockets) == 1 {
						victim.Store(s)
					}
					sockets <- s
					fault("accept", s)
				},
				connect: func(s *socketio.Socket, _ json.RawMessage) error {
					fault("Connect", s)
					return nil
				},
				connected: func(s *socketio.Socket) { fault("Connected", s) },
				event:     func(s *socketio.Socket, _ *socketio.Event) { fault("Event", s) },
				disconnect: func(s *socketio.Socket, reason string) {
					if s == victim.Load() {
						reasons <- reason
					}
					fault("Disconnect", s)
				},
			})
			bystander := srv.connect()
			c := srv.dial()
			c.send("40", `42["a"]`, "41", "40")
			for {
				if _, err := c.read(); err != nil {
					break
				}
			}
			if at != "" {
				if reason := receive(t, reasons); reason != at {
					t.Errorf("reason %q", reason)
				}
			}
			bystander.wantAlive()
			srv.close()
			wantNone(t, reasons)
			if all := logs.All(); len(all) != 1 || !strings.Contains(all[0].ContextMap()["stack"].(string), "panic_test.go") {
				t.Errorf("logged: %v", all)
			}
		})
	}
}
