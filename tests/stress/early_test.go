package stress

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"
)

// tickets is a session cache that says when it has a ticket.
type tickets struct {
	tls.ClientSessionCache
	got chan struct{}
}

func (c tickets) Put(key string, state *tls.ClientSessionState) {
	c.ClientSessionCache.Put(key, state)
	select {
	case c.got <- struct{}{}:
	default:
	}
}

// heldSocket is a socket on which nothing arrives until it is let go: what its client
// sends until then is early data, as the client has no other keys.
type heldSocket struct {
	net.PacketConn
	letGo chan struct{}
}

func (h heldSocket) ReadFrom(b []byte) (int, net.Addr, error) {
	<-h.letGo
	return h.PacketConn.ReadFrom(b)
}

// A replay is a request that cannot be told from one that somebody recorded: all
// of it is early data, and the server has nothing of the handshake's end.
func TestEarlyDataIsRefusedUntilTheHandshakeIsComplete(t *testing.T) {
	t.Parallel() // it mostly waits
	s := startSecure(t, "")
	a := s.newApp()
	cache := tickets{tls.NewLRUClientSessionCache(1), make(chan struct{}, 1)}
	config := s.tls.Clone()
	config.ClientSessionCache, config.NextProtos = cache, []string{http3.NextProtoH3}
	first := &http3.Transport{TLSClientConfig: config}
	defer first.Close()
	if err := s.publishOver(&http.Client{Transport: first}, s.Host, a, "c", "1"); err != nil {
		t.Fatal(err)
	}
	<-cache.got
	poll, err := http.NewRequest(http.MethodGet, "https://"+s.Host+pollingPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	publish, err := a.post("https://"+s.Host, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name    string
		request *http.Request
		body    string
		taken   string // metric of those that are not refused
		before  float64
	}{{"publish", publish, publication("c", "2"), "messages_total", 1}, {"connect", poll, "", "connections", 0}} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		conn, letGo := s.dialEarly(ctx, config)
		client := new(http3.Transport).NewClientConn(conn)
		stream, err := conn.OpenStreamSync(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Write(http3Request(tc.request, tc.body)); err != nil {
			t.Fatal(err)
		}
		if err := stream.Close(); err != nil {
			t.Fatal(err)
		}
		s.await("the early "+tc.name+" is answered", 10*time.Second, func() bool {
			metrics, err := s.get("/metrics")
			if err != nil {
				t.Fatal(err)
			}
			return strings.Contains(metrics, `caddy_realtime_refused_total{attempt="`+tc.name+`",code="too_early"} 1`) || s.metric(tc.taken) != tc.before
		})
		letGo()
		if answer, err := io.ReadAll(stream); !strings.Contains(string(answer), `"code":"too_early"`) || err != nil {
			t.Errorf("%s: got %q, %v", tc.name, answer, err)
		}
		if !conn.ConnectionState().Used0RTT {
			t.Errorf("%s: the server has not taken early data; this test is of nothing", tc.name)
		}
		request := tc.request.Clone(ctx)
		request.Body, request.ContentLength = io.NopCloser(strings.NewReader(tc.body)), int64(len(tc.body))
		again, err := client.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		if again.Body.Close(); again.StatusCode != http.StatusOK {
			t.Errorf("%s: after the handshake: %s", tc.name, again.Status)
		}
		if n := s.metric(tc.taken); n != tc.before+1 {
			t.Errorf("%s: %s is %v, want %v", tc.name, tc.taken, n, tc.before+1)
		}
		if err := conn.CloseWithError(0, ""); err != nil {
			t.Error(err)
		}
	}
}

// http3Request is a request as bytes: a client of net/http sends no POST in early
// data. Its header is literal in QPACK (RFC 9204, section 4.5.6).
func http3Request(r *http.Request, body string) []byte {
	block := []byte{0, 0}
	field := func(name, value string) {
		name = strings.ToLower(name)
		block = qpackInt(block, 0x20, 7, len(name))
		block = append(block, name...)
		block = qpackInt(block, 0, 127, len(value))
		block = append(block, value...)
	}
	field(":method", r.Method)
	field(":scheme", "https")
	field(":authority", r.URL.Host)
	field(":path", r.URL.RequestURI())
	for name, values := range r.Header {
		field(name, values[0])
	}
	frames := quicvarint.Append([]byte{0x01}, uint64(len(block)))
	frames = append(frames, block...)
	if body != "" {
		frames = quicvarint.Append(append(frames, 0x00), uint64(len(body)))
		frames = append(frames, body...)
	}
	return frames
}

// qpackInt appends an integer whose first byte has other bits too.
func qpackInt(b []byte, bits byte, most, n int) []byte {
	if n < most {
		return append(b, bits|byte(n))
	}
	b = append(b, bits|byte(most))
	for n -= most; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// dialEarly begins a connection with a ticket that the configuration has. Its
// handshake goes on once letGo is called.
func (s *secure) dialEarly(ctx context.Context, config *tls.Config) (conn *quic.Conn, letGo func()) {
	s.t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	held := make(chan struct{})
	letGo = sync.OnceFunc(func() { close(held) })
	transport := &quic.Transport{Conn: heldSocket{socket, held}}
	s.t.Cleanup(func() {
		letGo()
		_ = transport.Close()
		_ = socket.Close()
	})
	_, port, _ := net.SplitHostPort(s.Host)
	addr, err := net.ResolveUDPAddr("udp", "127.0.0.1:"+port)
	if err != nil {
		s.t.Fatal(err)
	}
	if conn, err = transport.DialEarly(ctx, addr, config, nil); err != nil {
		s.t.Fatal(err)
	}
	return conn, letGo
}
