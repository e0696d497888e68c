package engineio_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/gobwas/ws"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

// What a client sends in the same segment as the end of the handshake arrives
// before the session exists. The Go library crashes on such a pong, and now and
// then loses a message.
func TestNothingThatComesWithTheHandshakeIsLost(t *testing.T) {
	srv := serve(t, config(), app{})
	random := rand.New(rand.NewPCG(1, 2))
	garbage := make([]byte, 4000)
	for i := range garbage {
		garbage[i] = byte(random.Uint32())
	}
	long := "4" + string(fill(10_000)) // larger than any buffer
	half := text("4half")
	ways := []struct {
		early []byte
		then  func(c *socket)
	}{
		{joined(text("3"), masked(ws.NewPongFrame(nil)), text("4hello")), func(c *socket) { c.gets("4hello") }},
		{joined(text("4one"), text("4two")), func(c *socket) { c.gets("4one"); c.gets("4two") }},
		{text(long), func(c *socket) { c.gets(long) }},
		{half[:8], func(c *socket) { c.write(half[8:]); c.gets("4half") }},
		{masked(ws.NewPingFrame([]byte("hi"))), func(c *socket) {
			if f, err := c.next(); err != nil || f.Header.OpCode != ws.OpPong || string(f.Payload) != "hi" {
				c.t.Errorf("no pong but %+v: %v", f, err)
			}
		}},
		{text("1"), func(c *socket) { c.closes(ws.StatusNormalClosure) }},
		{masked(ws.NewCloseFrame(nil)), func(c *socket) { c.closes(ws.StatusNoStatusRcvd) }},
		{text("2"), func(c *socket) { c.closeFrame(ws.StatusPolicyViolation) }},
		{garbage, func(c *socket) { c.conn.Close() }},
	}
	var clients sync.WaitGroup
	for worker := range 16 {
		clients.Go(func() {
			for i := range 2000 / 16 {
				way := ways[(worker+i)%len(ways)]
				c := srv.dial(way.early...)
				way.then(c)
				c.conn.Close()
			}
		})
	}
	clients.Wait()
	eventually(t, "all sessions are gone", func() bool { return srv.Len() == 0 })
	if n := srv.opened.Load(); n != 2000 {
		t.Errorf("%d sessions were opened", n)
	}
}

// The probe and everything after it can arrive in one segment, too.
func TestAnUpgradeInOneSegment(t *testing.T) {
	srv := serve(t, config(), app{})
	for i := range 300 {
		client := srv.openPolling()
		p := srv.peer(client.SID)
		p.Send(engineio.TextPacket([]byte("queued")))
		message := fmt.Sprint("4message ", i)
		c := srv.websocket(client.SID, joined(text("2probe"), text("5"), text(message))...)
		c.gets("3probe")
		c.gets("4queued")
		c.gets(message)
		c.conn.Close()
		p.endsWith(engineio.TransportClose)
	}
}
