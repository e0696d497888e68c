// Command echo is the server that the official suites of Engine.IO 4 and
// Socket.IO 5 test: see tests/conformance/run.sh.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
	"github.com/seed-c079cc48/caddy-realtime/socketio"
)

// connectTimeout is not in the suites, but their sessions without CONNECT have
// to end within mocha's two seconds.
const connectTimeout = 1500 * time.Millisecond

func main() {
	mode := flag.String("mode", "sio", `"eio" echoes Engine.IO messages, "sio" Socket.IO events`)
	port := flag.Int("port", 3000, "port on localhost")
	flag.Parse()

	logger := zap.NewNop()
	accept := func(s *engineio.Session) engineio.Receiver { return &echo{s} }
	if *mode == "sio" {
		accept = socketio.NewServer(socketio.Config{ConnectTimeout: connectTimeout, Logger: logger},
			func(s *socketio.Socket) socketio.Handler { return &handler{socket: s} }).Open
	}
	server := engineio.NewServer(engineio.Config{
		PingInterval:   300 * time.Millisecond,
		PingTimeout:    200 * time.Millisecond,
		MaxPayload:     1e6,
		MaxQueue:       4e6,
		WriteTimeout:   10 * time.Second,
		UpgradeTimeout: 10 * time.Second,
		BodyTimeout:    10 * time.Second,
		Logger:         logger,
	}, accept)

	listener, err := net.Listen("tcp", fmt.Sprintf("localhost:%d", *port))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", listener.Addr()) // run.sh waits for this line
	serve := func(w http.ResponseWriter, r *http.Request) { server.Serve(w, r, engineio.Exchange{}) }
	log.Fatal((&http.Server{Handler: http.HandlerFunc(serve), ReadHeaderTimeout: 10 * time.Second}).Serve(listener))
}

// echo sends each Engine.IO message back.
type echo struct{ session *engineio.Session }

func (e *echo) Text(payload []byte)    { e.session.Send(engineio.TextPacket(payload)) }
func (e *echo) Binary(payload []byte)  { e.session.Send(engineio.BinaryPacket(payload)) }
func (e *echo) Closed(engineio.Reason) {}

// handler greets with the auth and sends events back, as the suite of
// Socket.IO asks for.
type handler struct {
	socket *socketio.Socket
	auth   json.RawMessage
}

func (h *handler) Connect(auth json.RawMessage) error {
	h.auth = auth
	if auth == nil {
		h.auth = json.RawMessage("{}")
	}
	return nil
}

func (h *handler) Connected() { h.emit("auth", h.auth) }

func (h *handler) Event(e *socketio.Event) func(context.Context) {
	switch e.Name {
	case "message":
		h.emit("message-back", e.Values()...)
	case "message-with-ack":
		e.Ack(e.Values()...)
	}
	return nil
}

func (h *handler) Disconnect(string) {}

func (h *handler) emit(event string, args ...any) {
	if err := h.socket.Emit(event, args...); err != nil {
		log.Print(err)
	}
}

var (
	_ engineio.Receiver = (*echo)(nil)
	_ socketio.Handler  = (*handler)(nil)
	_ socketio.Welcomer = (*handler)(nil)
)
