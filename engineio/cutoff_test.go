package engineio_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

// Two requests from anybody are enough to get a client cut off.
func TestEachKindOfCutoffIsLoggedSeldomAndNoneIsLostFromTheCount(t *testing.T) {
	const clients = 1000
	for message, test := range map[string]struct {
		configure func(*engineio.Config)
		cutOff    func(b *bubble, p *peer)
	}{
		"client cut off: its queue is full": {
			func(cfg *engineio.Config) { cfg.MaxQueue = 100 },
			func(_ *bubble, p *peer) {
				p.Send(engineio.TextPacket(fill(80)))
				p.Send(engineio.TextPacket(fill(80)))
			},
		},
		"client cut off: it sends too many packets": {
			func(cfg *engineio.Config) { cfg.MaxPackets, cfg.PacketWindow = 1, time.Hour },
			func(b *bubble, p *peer) { b.do(http.MethodPost, p.ID(), "3\x1e3\x1e3\x1e3\x1e3") },
		},
		"client cut off: it did not answer a ping": {
			func(cfg *engineio.Config) { cfg.PingInterval, cfg.PingTimeout = time.Second, time.Second },
			func(*bubble, *peer) {},
		},
		"client cut off: a write timed out": {
			func(cfg *engineio.Config) { cfg.WriteTimeout = time.Second },
			func(b *bubble, p *peer) {
				b.websocket("") // its handshake is never read
				p.Abort("test")
			},
		},
	} {
		t.Run(message, func(t *testing.T) {
			core, logs := observer.New(zap.InfoLevel)
			cfg := config()
			cfg.Logger = zap.New(core)
			test.configure(&cfg)
			inBubble(t, cfg, func(b *bubble) {
				for range clients {
					test.cutOff(b, b.openPolling())
				}
				time.Sleep(5 * time.Second)
				synctest.Wait()
				if n := logs.FilterMessage(message).Len(); n < 1 || n > 11 {
					t.Errorf("%d lines for %d clients", n, clients)
				}
				time.Sleep(time.Minute)
				test.cutOff(b, b.openPolling())
				time.Sleep(5 * time.Second)
				synctest.Wait()
			})
			lines := logs.FilterMessage(message).All()
			count := int64(len(lines))
			for _, line := range lines {
				suppressed, _ := line.ContextMap()["suppressed"].(int64)
				count += suppressed
			}
			if count != clients+1 {
				t.Errorf("the log accounts for %d of %d clients, in %d lines", count, clients+1, len(lines))
			}
		})
	}
}
