package realtime

import (
	"fmt"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/message"
	"github.com/seed-c079cc48/caddy-realtime/socketio"
)

// stuck is a subscriber that holds up its app's messages.
type stuck struct{ entered, release chan struct{} }

func (s *stuck) ID() string { return "" }

func (s *stuck) Queue(*socketio.Broadcast) hub.Flusher {
	close(s.entered)
	<-s.release
	return nil
}

// When all clients of a busy machine come back at once, some are still waiting
// for their app's turn when the connect timeout ends.
func TestClientWhoseConnectOutlastsTheTimeoutCanStillComeBack(t *testing.T) {
	s := newSite(t, func(a *App, _ *Handler) { a.ConnectTimeout = caddy.Duration(2 * time.Second) })
	made := s.newApp()
	busy := &stuck{make(chan struct{}), make(chan struct{})}
	member := s.hub.Join(made.App.ID, busy)
	defer member.Close()
	if err := member.Subscribe(t.Context(), "a", 1, hub.From{}, func(hub.Standing[*socketio.Broadcast]) {}); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = s.publish(made.App, message.Publication{Channel: "a", Event: "e"}) }()
	<-busy.entered

	conn, _, _, err := ws.Dial(t.Context(), "ws://"+s.addr+"/socket.io/?EIO=4&transport=websocket")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	auth := fmt.Sprintf(`40{"appId":%q,"subscribeKey":%q,"recover":true}`, made.App.ID, made.SubscribeKey)
	if err := wsutil.WriteClientText(conn, []byte(auth)); err != nil {
		t.Fatal(err)
	}
	until(t, "the client is admitted", func() bool { return s.sockets.Count(made.App.ID) == 1 })
	until(t, "the connect timeout has ended", func() bool { return s.sio.Connecting() == 0 })
	close(busy.release)
	until(t, "the session waits for its client", func() bool { return s.hub.Away(made.App.ID) == 1 })
}
