package realtime

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/tests/client"
)

// rated serves with one channel per socket and a message rate of packets per hour.
func rated(t *testing.T, packets int) *testSite {
	t.Helper()
	return newSite(t, func(app *App, _ *Handler) {
		app.MaxChannels = 1
		app.MessageRate = &Rate{Count: packets, Window: caddy.Duration(time.Hour)}
	})
}

// next waits for the client's next packet.
func (m *mailbox) next() string {
	m.t.Helper()
	select {
	case packet := <-m.packets:
		return packet
	case <-time.After(10 * time.Second):
		m.t.Fatal("nothing came")
		return ""
	}
}

func TestOverTheMessageRateNothingIsDoneAndTheClientIsTold(t *testing.T) {
	for _, transport := range []client.Transport{client.OverWebSocket, client.OverPolling} {
		t.Run(string(transport), func(t *testing.T) {
			const most = 40
			s := rated(t, most)
			made := s.newApp()
			m := s.dial(transport, made.App.ID, made.SubscribeKey) // counts as a packet
			for range most - 1 {
				m.emit(`["noise"]`)
			}
			m.emit(`1["subscribe","a"]`)
			for _, want := range []string{`2["subscribe_error",{"channel":"a","code":"rate_limited"`, `31[{"error":{"code":"rate_limited"`} {
				if got := m.next(); !strings.HasPrefix(got, want) {
					t.Errorf("a subscribe gets %s", got)
				}
			}
			m.emit(`2["unsubscribe","a"]`)
			for _, want := range []string{`2["subscribe_error",{"channel":"a","code":"rate_limited"`, `32[{"error":{"code":"rate_limited"`} {
				if got := m.next(); !strings.HasPrefix(got, want) {
					t.Errorf("an unsubscribe gets %s", got)
				}
			}
			m.emit(`3["noise"]`)
			if got := m.next(); !strings.HasPrefix(got, `33[{"error":{"code":"rate_limited"`) {
				t.Errorf("another event gets %s", got)
			}
			if n := s.hub.Subscriptions(); n != 0 {
				t.Errorf("%d subscriptions", n)
			}
			for range most { // more than twice the limit; the last ones meet a closed connection
				_ = m.Write(`42["noise"]`)
			}
			select {
			case <-m.Done():
			case <-time.After(10 * time.Second):
				t.Fatal("a flood is not cut off")
			}
			if n := s.eio.Stats().Floods.Load(); n != 1 {
				t.Errorf("%d floods are counted", n)
			}
		})
	}
}

func TestAClientMaySubscribeToAllItsChannelsWhateverTheMessageRateIs(t *testing.T) {
	s := rated(t, 1)
	made := s.newApp()
	const channels = 200 // the app's limit
	if _, err := s.registry.Update(made.App.ID, func(a *keystore.App) error { a.MaxChannels = channels; return nil }); err != nil {
		t.Fatal(err)
	}
	for _, transport := range transports {
		m := s.dial(transport, made.App.ID, made.SubscribeKey)
		for i := range channels {
			m.emit(fmt.Sprintf(`["subscribe","c%d"]`, i))
			m.want(fmt.Sprintf(`2["subscribed",{"channel":"c%d"}]`, i))
		}
		for i := range channels {
			m.emit(fmt.Sprintf(`["unsubscribe","c%d"]`, i))
			m.want(fmt.Sprintf(`2["unsubscribed",{"channel":"c%d"}]`, i))
		}
	}
}
