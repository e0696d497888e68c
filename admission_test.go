package realtime

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/seed-c079cc48/caddy-realtime/access"
	"github.com/seed-c079cc48/caddy-realtime/tests/client"
)

// nobodyIsCounted reports whether admission counts no connections, in total and for
// this machine's address.
func (s *testSite) nobodyIsCounted() bool {
	const ip = "127.0.0.1"
	over, refusal := s.admission.Enter(ip, access.Limits{Connections: 1, ConnectionsPerIP: 1})
	if refusal != nil {
		return false
	}
	s.admission.Leave(ip, over)
	return !over
}

// Neither refused and malformed handshakes, nor sessions that end in any way, nor
// limits that change meanwhile leave anything counted after all clients have left.
func TestAdmissionIsEmptyWhenAllHaveGone(t *testing.T) {
	s := newSite(t, func(app *App, _ *Handler) {
		second := caddy.Duration(time.Second)
		app.PingInterval, app.PingTimeout, app.ConnectTimeout, app.WriteTimeout = second, second, second, second
		app.MaxConnectionsPerIP = 20
	})
	made := s.newApp()
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 25 {
				switch n := worker + i; n % 8 {
				case 0: // invalid handshakes
					for _, query := range []string{"", "EIO=3&transport=polling", "EIO=4&transport=websocket", "EIO=4&transport=smoke", "EIO=4&transport=polling&j=1"} {
						if answer, err := http.Get("http://" + s.addr + "/socket.io/?" + query); err == nil {
							_ = answer.Body.Close()
						}
					}
				case 1: // no client uses the session
					if answer, err := http.Get("http://" + s.addr + "/socket.io/?EIO=4&transport=polling"); err == nil {
						_ = answer.Body.Close()
					}
				case 2: // an abandoned upgrade
					if c, err := client.Dial(client.Config{Addr: s.addr, Transport: client.OverPolling, AppID: made.App.ID, Key: made.SubscribeKey}); err == nil {
						_ = c.Close()
					}
				default:
					key := made.SubscribeKey
					if n%8 == 3 {
						key = "wrong"
					}
					c, err := client.Dial(client.Config{Addr: s.addr, Transport: transports[n%3], AppID: made.App.ID, Key: key})
					if err != nil {
						continue // refused
					}
					if socket, ok := c.Conn().(*client.WebSocket); ok && n%2 == 0 {
						_ = socket.Reset()
					}
					_ = c.Close()
				}
				if worker == 0 { // a reload
					next := *s.handler.app
					next.MaxConnectionsPerIP = i % 12
					s.start(&next)
					s.stop(s.configs[0])
				}
			}
		})
	}
	wg.Wait()
	until(t, "nobody is counted", s.nobodyIsCounted)
	if n := s.eio.Len(); n != 0 {
		t.Errorf("%d sessions are open", n)
	}
}

// An empty sid means no sid: it opens a session like any other.
func TestAnEmptySessionIDOpensASession(t *testing.T) {
	s := newSite(t, nil)
	made := s.newApp()
	auth := fmt.Sprintf(`40{"appId":%q,"subscribeKey":%q}`, made.App.ID, made.SubscribeKey)
	if code, answer := s.connectError("&sid=", "", auth); code != "" || !strings.HasPrefix(answer, "40{") {
		t.Errorf("got %s %s", code, answer)
	}
}

func TestOverMaxConnectionsHandshakesAreToldToComeBack(t *testing.T) {
	one := 1
	s := newSite(t, func(app *App, _ *Handler) { app.MaxConnections = &one })
	made := s.newApp()
	m := s.dial(client.OverWebSocket, made.App.ID, made.SubscribeKey)
	for range 2 {
		answer, err := http.Get("http://" + s.addr + "/socket.io/?EIO=4&transport=polling")
		if err != nil {
			t.Fatal(err)
		}
		var body struct {
			Error struct{ Code, Message string }
		}
		err = json.NewDecoder(answer.Body).Decode(&body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") != "1" ||
			body.Error.Code != "unavailable" || !strings.Contains(body.Error.Message, "max_connections") {
			t.Fatalf("%s, %+v, %v", answer.Status, body, err)
		}
	}
	_ = m.Close()
	until(t, "the place is free", s.nobodyIsCounted)
	s.dial(client.OverPolling, made.App.ID, made.SubscribeKey)
}
