package peer

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/gobwas/ws"
)

// A hub is the least that a fan-out can be: one prebuilt frame, one write(2)
// per subscriber, one goroutine per connection that reads. No queues, no
// limits, no heartbeat: one client that stalls stops all.
type hub struct {
	mu       sync.RWMutex
	channels map[string][]net.Conn
}

func loop(string) (http.Handler, error) {
	h := &hub{channels: map[string][]net.Conn{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /publish", publish(h.publish))
	mux.HandleFunc("GET /socket.io/", h.accept)
	return mux, nil
}

func (h *hub) publish(p publication) error {
	event, err := json.Marshal(p.Event)
	if err != nil {
		return err
	}
	frame := text(`42[` + string(event) + `,` + string(p.Data) + `]`)
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, conn := range h.channels[p.Channel] {
		_, _ = conn.Write(frame) // who has gone is noticed by its reader
	}
	return nil
}

func (h *hub) accept(w http.ResponseWriter, r *http.Request) {
	conn, _, _, err := ws.UpgradeHTTP(r, w)
	if err != nil {
		return
	}
	go h.serve(conn) // so that net/http lets go of its own
}

func (h *hub) serve(conn net.Conn) {
	defer h.leave(conn)
	_, _ = conn.Write(text(`0{"sid":"x","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`))
	src := bufio.NewReaderSize(conn, 512)
	for {
		message, err := read(src)
		if err != nil {
			return
		}
		if strings.HasPrefix(message, "40") {
			_, _ = conn.Write(text(`40{"sid":"x"}`))
		}
		var event []string
		if rest, ok := strings.CutPrefix(message, "42"); ok && json.Unmarshal([]byte(rest), &event) == nil && len(event) == 2 {
			h.mu.Lock()
			h.channels[event[1]] = append(h.channels[event[1]], conn)
			h.mu.Unlock()
			_, _ = conn.Write(text(fmt.Sprintf(`42["subscribed",{"channel":%q}]`, event[1])))
		}
	}
}

// read reads a message from a client that is trusted.
func read(src *bufio.Reader) (string, error) {
	header, err := ws.ReadHeader(src)
	if err != nil {
		return "", err
	}
	if header.OpCode == ws.OpClose || header.Length > 1000 {
		return "", net.ErrClosed
	}
	payload := make([]byte, header.Length)
	_, err = io.ReadFull(src, payload)
	ws.Cipher(payload, header.Mask, 0)
	return string(payload), err
}

func (h *hub) leave(conn net.Conn) {
	_ = conn.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	for channel, conns := range h.channels {
		for i, c := range conns {
			if c == conn {
				conns[i] = conns[len(conns)-1]
				h.channels[channel] = conns[:len(conns)-1]
				break
			}
		}
	}
}

func text(message string) []byte {
	return ws.MustCompileFrame(ws.NewTextFrame([]byte(message)))
}
