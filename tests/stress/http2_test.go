package stress

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// http2Conn is a connection whose every frame the test itself writes.
type http2Conn struct {
	*http2.Framer
	t        *testing.T
	conn     net.Conn
	headers  *hpack.Encoder
	block    bytes.Buffer
	settings map[http2.SettingID]uint32 // the server's
	last     uint32                     // the last stream's id
}

// dialHTTP2 connects, with settings of the client's own.
func (s *secure) dialHTTP2(settings ...http2.Setting) *http2Conn {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.Host) //nolint:noctx // a test
	if err != nil {
		s.t.Fatal(err)
	}
	return s.openHTTP2(conn, settings...)
}

// openHTTP2 is dialHTTP2 over a connection that is there.
func (s *secure) openHTTP2(plain net.Conn, settings ...http2.Setting) *http2Conn {
	s.t.Helper()
	config := s.tls.Clone()
	config.NextProtos = []string{"h2"}
	conn := tls.Client(plain, config)
	s.t.Cleanup(func() { _ = conn.Close() })
	h := &http2Conn{Framer: http2.NewFramer(conn, conn), t: s.t, conn: conn, settings: make(map[http2.SettingID]uint32)}
	h.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	h.headers = hpack.NewEncoder(&h.block)
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		s.t.Fatal(err)
	}
	h.must(h.WriteSettings(settings...))
	h.until("its settings", func(f http2.Frame) bool {
		server, ok := f.(*http2.SettingsFrame)
		if !ok || server.IsAck() {
			return false
		}
		h.must(server.ForeachSetting(func(s http2.Setting) error {
			h.settings[s.ID] = s.Val
			return nil
		}))
		return true
	})
	h.must(h.WriteSettingsAck())
	return h
}

func (h *http2Conn) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// until reads frames up to one.
func (h *http2Conn) until(what string, found func(http2.Frame) bool) {
	h.t.Helper()
	h.must(h.conn.SetReadDeadline(time.Now().Add(20 * time.Second)))
	for {
		f, err := h.ReadFrame()
		if err != nil {
			h.t.Fatalf("waiting for %s: %v", what, err)
		}
		if found(f) {
			return
		}
	}
}

// send begins a stream with a request, given as names and values.
func (h *http2Conn) send(end bool, fields ...string) uint32 {
	h.t.Helper()
	h.last += 2
	id := h.last - 1
	h.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		h.must(h.headers.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}))
	}
	h.must(h.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: h.block.Bytes(), EndHeaders: true, EndStream: end}))
	return id
}

// get asks for a path of the site.
func (h *http2Conn) get(host, path string, more ...string) uint32 {
	h.t.Helper()
	return h.send(true, append([]string{":method", "GET", ":scheme", "https", ":authority", host, ":path", path}, more...)...)
}

// answer is what a stream was answered with.
type answer struct {
	status string
	body   string
	reset  http2.ErrCode // if status is ""
}

// answer reads on until a stream has ended. After each frame of the body it
// opens the window by credit bytes, if that is not 0.
func (h *http2Conn) answer(id, credit uint32) answer {
	h.t.Helper()
	var a answer
	h.until(fmt.Sprintf("the end of stream %d", id), func(f http2.Frame) bool {
		if f.Header().StreamID != id {
			return false
		}
		switch f := f.(type) {
		case *http2.RSTStreamFrame:
			a.status, a.reset = "", f.ErrCode
			return true
		case *http2.MetaHeadersFrame:
			a.status = f.PseudoValue("status")
			return f.StreamEnded()
		case *http2.DataFrame:
			a.body += string(f.Data())
			if credit > 0 && !f.StreamEnded() {
				h.must(h.WriteWindowUpdate(id, credit))
			}
			return f.StreamEnded()
		}
		return false
	})
	return a
}

const (
	pollingPath   = "/socket.io/?EIO=4&transport=polling"
	websocketPath = "/socket.io/?EIO=4&transport=websocket"
)

// extendedConnect asks for a websocket as RFC 8441 says.
func (h *http2Conn) extendedConnect(host string) uint32 {
	h.t.Helper()
	return h.send(false, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":authority", host,
		":path", websocketPath, "sec-websocket-version", "13", "origin", "https://"+host)
}

// A browser opens websockets over HTTP/2 only where the server has offered it,
// and does not fall back when that is refused.
func TestExtendedConnectIsNotOfferedOverHTTP2(t *testing.T) {
	t.Parallel() // it mostly waits
	s := startSecure(t, "")
	h := s.dialHTTP2()
	if value, ok := h.settings[http2.SettingEnableConnectProtocol]; ok {
		t.Errorf("ENABLE_CONNECT_PROTOCOL is %d", value)
	}
	if a := h.answer(h.extendedConnect(s.Host), 0); a.reset != http2.ErrCodeProtocol {
		t.Errorf("who asks all the same gets %+v", a)
	}
	if a := h.answer(h.get(s.Host, pollingPath), 0); a.status != "200" || !strings.HasPrefix(a.body, "0{") {
		t.Errorf("the next request on the connection: %+v", a)
	}
}

// Go offers it when told to, for other handlers of the same Caddy.
func TestExtendedConnectOverHTTP2IsAnsweredThatItIsNotServed(t *testing.T) {
	t.Parallel() // it mostly waits
	s := startSecure(t, "", "GODEBUG=http2xconnect=1")
	h := s.dialHTTP2()
	if value := h.settings[http2.SettingEnableConnectProtocol]; value != 1 {
		t.Fatalf("ENABLE_CONNECT_PROTOCOL is %d", value)
	}
	if s.logged("http2xconnect=1: browsers") != 2 { // one for each site
		t.Error("the log does not say what that means")
	}
	if a := h.answer(h.extendedConnect(s.Host), 0); a.status != "501" || !strings.Contains(a.body, "HTTP/1.1") {
		t.Errorf("got %+v", a)
	}
	if a := h.answer(h.get(s.Host, pollingPath), 0); a.status != "200" {
		t.Errorf("the next request on the connection: %+v", a)
	}
}

func TestWebSocketHandshakeOverHTTP2IsRefused(t *testing.T) {
	t.Parallel() // it mostly waits
	s := startSecure(t, "")
	h := s.dialHTTP2()
	handshake := []string{"sec-websocket-version", "13", "sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="}
	for _, more := range [][]string{
		nil,
		handshake,
		append([]string{"upgrade", "websocket"}, handshake...), // which HTTP/2 forbids
		append([]string{"connection", "Upgrade", "upgrade", "websocket"}, handshake...),
		{"connection", "close"},
	} {
		if a := h.answer(h.get(s.Host, websocketPath, more...), 0); a.status != "400" {
			t.Errorf("%v: %+v", more, a)
		}
	}
	if a := h.answer(h.get(s.Host, pollingPath), 0); a.status != "200" {
		t.Errorf("the next request on the connection: %+v", a)
	}
	if n := s.metric("connections"); n != 1 {
		t.Errorf("%v sessions are open", n)
	}
}

// poller is a session of polling on a raw connection, subscribed to c.
func (h *http2Conn) poller(s *secure, a app, credit uint32) (path string) {
	h.t.Helper()
	open := h.answer(h.get(s.Host, pollingPath), credit)
	_, sid, _ := strings.Cut(open.body, `"sid":"`)
	sid, _, _ = strings.Cut(sid, `"`)
	path = pollingPath + "&sid=" + sid
	for _, step := range [][2]string{
		{fmt.Sprintf(`40{"appId":%q,"subscribeKey":%q}`, a.ID, a.SubscribeKey), "40"},
		{`42["subscribe","c"]`, `42["subscribed"`},
	} {
		post := h.send(false, ":method", "POST", ":scheme", "https", ":authority", s.Host, ":path", path, "content-type", "text/plain")
		h.must(h.WriteData(post, true, []byte(step[0])))
		if got := h.answer(post, credit); got.body != "ok" {
			h.t.Fatalf("%q: %+v", step[0], got)
		}
		if got := h.answer(h.get(s.Host, path), credit); !strings.HasPrefix(got.body, step[1]) {
			h.t.Fatalf("%q: %+v", step[0], got)
		}
	}
	return path
}

func TestHTTP2PollThatIsCancelledEndsItsSession(t *testing.T) {
	t.Parallel() // it mostly waits
	s := startSecure(t, "")
	a := s.newApp()
	h := s.dialHTTP2()
	staying := h.get(s.Host, h.poller(s, a, 0))
	h.must(h.WriteRSTStream(h.get(s.Host, h.poller(s, a, 0)), http2.ErrCodeCancel))
	s.await("one session is left", 2*time.Second, func() bool { return s.connections(a) == 1 })
	if n, err := s.publish(a, "c", "1"); n != 1 || err != nil {
		t.Errorf("published to %d, %v", n, err)
	}
	if got := h.answer(staying, 0); got.body != `42["e",1]` {
		t.Errorf("the other got %+v", got)
	}
}

func TestHTTP2WindowOfOneByteIsServed(t *testing.T) {
	t.Parallel() // it mostly waits
	s := startSecure(t, "")
	a := s.newApp()
	h := s.dialHTTP2(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
	path := h.poller(s, a, 1)
	for i := range 20 {
		if n, err := s.publish(a, "c", fmt.Sprint(i+1)); n != 1 || err != nil {
			t.Fatalf("published to %d, %v", n, err)
		}
	}
	var got account
	for packet := range strings.SplitSeq(h.answer(h.get(s.Host, path), 1).body, "\x1e") {
		got.take(strings.TrimPrefix(packet, "4"))
	}
	if first, last, bad := got.state(); first != 1 || last != 20 || bad != "" {
		t.Errorf("got %d to %d; %s", first, last, bad)
	}
}

func TestHTTP2WindowThatStaysShutIsCutOffAlone(t *testing.T) {
	t.Parallel() // it mostly waits
	const timeout = 4 * time.Second
	s := startSecure(t, fmt.Sprintf("write_timeout %s", timeout))
	a := s.newApp()
	h := s.dialHTTP2()
	path := h.poller(s, a, 0)
	h.must(h.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
	before := s.usage()
	begin := time.Now()
	for i, size := range []int{100, 100_000} { // what one frame holds, and more
		if i > 0 { // the first session is over
			h.must(h.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20}))
			path = h.poller(s, a, 0)
			h.must(h.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
		}
		poll := h.get(s.Host, path)
		if n, err := s.publish(a, "c", fmt.Sprintf("%q", strings.Repeat("x", size))); n != 1 || err != nil {
			t.Fatalf("published to %d, %v", n, err)
		}
		if got := h.answer(poll, 0); got.status != "" {
			t.Errorf("%d bytes: got %+v", size, got)
		}
		s.await("the session is gone", 30*time.Second, func() bool { return s.connections(a) == 0 })
		if n := s.metric(`cut_off_total{reason="write_timeout"}`); int(n) != i+1 {
			t.Errorf("%d bytes: the counter says %v, want %d", size, n, i+1)
		}
	}
	if took := time.Since(begin); took < 2*timeout || took > 2*timeout+40*time.Second {
		t.Errorf("both were cut off after %s", took)
	}
	h.must(h.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20}))
	h.poller(s, a, 0) // the connection goes on
	_ = h.conn.Close()
	s.settled(before)
}

func TestHTTP2BodiesThatStallAreCutOff(t *testing.T) {
	t.Parallel() // it mostly waits
	s := startSecure(t, "body_timeout 3s")
	a := s.newApp()
	h := s.dialHTTP2()
	path := h.poller(s, a, 0)
	begin := time.Now()
	post := h.send(false, ":method", "POST", ":scheme", "https", ":authority", s.Host, ":path", path, "content-type", "text/plain")
	h.must(h.WriteData(post, false, []byte("4")))
	publish := h.send(false, ":method", "POST", ":scheme", "https", ":authority", s.Host, ":path", "/publish",
		"content-type", "application/json", "x-app-id", a.ID, "authorization", "Bearer "+a.PublishKey)
	h.must(h.WriteData(publish, false, []byte("{")))
	answers := make(map[uint32]string)
	h.until("both answers", func(f http2.Frame) bool {
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			answers[f.StreamID] = f.PseudoValue("status")
		case *http2.RSTStreamFrame:
			if answers[f.StreamID] == "" {
				answers[f.StreamID] = f.ErrCode.String()
			}
		}
		return len(answers) == 2
	})
	took := time.Since(begin)
	t.Logf("after %s the packets were answered with %s, the publish with %s", took, answers[post], answers[publish])
	if !strings.HasPrefix(answers[post], "4") || !strings.HasPrefix(answers[publish], "4") {
		t.Error("want statuses of 4xx")
	}
	if took < 3*time.Second || took > 9*time.Second { // 10s is the default
		t.Error("want it after 3s")
	}
	s.await("the session is gone", 10*time.Second, func() bool { return s.connections(a) == 0 })
	h.poller(s, a, 0) // the connection goes on
}

// Go tells the connections that it has by then.
func TestAConnectionOfHTTP2ThatIsOpenedWhileTheServerEndsDoesNotStay(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*secure){
		"a reload": func(s *secure) {
			if err := s.reload(s.config("max_channels 5")); err != nil {
				s.t.Fatal(err)
			}
		},
		"the exit": func(s *secure) {
			s.expectEnd()
			_ = s.cmd.Process.Signal(syscall.SIGTERM)
			s.await("it ends", 20*time.Second, func() bool { return strings.Contains(s.readLog(0), "servers shutting down") })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startSecure(t, "")
			paths := []string{"/socket.io/?EIO=4&transport=polling", "/realtime/", "/realtime/app/" + s.newApp().ID + "/live"}
			open := make([]net.Conn, len(paths))
			for i := range open {
				var err error
				if open[i], err = net.Dial("tcp", s.Host); err != nil { //nolint:noctx // a test
					t.Fatal(err)
				}
			}
			before := s.dialHTTP2() // it comes behind the others: they have been accepted
			before.answer(before.get(s.Host, paths[0]), 0)
			end(s)
			for i, path := range paths {
				late := s.openHTTP2(open[i])
				stream := late.get(s.Host, path, "authorization", ann)
				var told, answered bool
				late.until("GOAWAY and the end of the answer from "+path, func(f http2.Frame) bool {
					told = told || f.Header().Type == http2.FrameGoAway
					ends := f.Header().Type == http2.FrameData || f.Header().Type == http2.FrameHeaders
					answered = answered || ends && f.Header().StreamID == stream && f.Header().Flags.Has(http2.FlagDataEndStream)
					return told && answered
				})
			}
		})
	}
}
