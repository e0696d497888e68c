// Package engineio is an Engine.IO 4 server: sessions over long-polling and
// websocket, upgrades from one to the other, and heartbeats. It is the
// transport under Socket.IO, and knows nothing of it.
//
// https://socket.io/docs/v4/engine-io-protocol/
package engineio

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/random"
)

// Config holds the limits and timeouts of a Server. All fields are required
// except MaxPackets, NeededPackets, IDPrefix and Describe. A session keeps the heartbeat
// settings and the MaxPayload that its client was told when it was opened;
// everything else is read when it is used.
type Config struct {
	// PingInterval is the time between heartbeats.
	PingInterval time.Duration

	// PingTimeout is how long a client may take to answer a heartbeat.
	PingTimeout time.Duration

	// MaxPayload bounds one message from a client and one POST, in bytes.
	MaxPayload int

	// MaxQueue bounds the packets queued for one client, in bytes. A client
	// over the limit is cut off.
	MaxQueue int

	// WriteTimeout bounds one write to a client, and how long a closed session
	// may take to tell its client.
	WriteTimeout time.Duration

	// UpgradeTimeout bounds the probe of a websocket during an upgrade.
	UpgradeTimeout time.Duration

	// BodyTimeout bounds how long a request's body may take to arrive.
	BodyTimeout time.Duration

	// MaxPackets is how many packets a client may send in a PacketWindow; 0
	// means no limit. Websocket frames of every kind and POSTs count, answers
	// to pings do not. Session.Excess reports a client over the limit; a client
	// that sends twice as many is cut off.
	MaxPackets   int
	PacketWindow time.Duration

	// NeededPackets, if not nil, returns how many packets a session may send,
	// given its Data, even if that is more than MaxPackets. It must not block.
	NeededPackets func(data any) int

	// IDPrefix begins the IDs of the sessions. Default: "".
	IDPrefix string

	Logger *zap.Logger

	// Describe returns log fields that say whose session it is, given its Data.
	// It must not block.
	Describe func(data any) []zap.Field
}

// A Receiver handles what one session receives. Calls for one session never
// overlap. Payloads are valid only during the call.
type Receiver interface {
	// Text is called for each text message.
	Text(payload []byte)

	// Binary is called for each binary message.
	Binary(payload []byte)

	// Closed is called once, after all other calls.
	Closed(reason Reason)
}

// Exchange is what the caller of Serve knows about a request.
type Exchange struct {
	// Ending, if not nil, is closed when the HTTP server is about to stop. A
	// pending poll is then answered at once, so that its client polls again and
	// reaches the next server.
	Ending <-chan struct{}

	// Hold, if not nil, delays answers, until Ending is closed at the latest.
	Hold *Hold

	// Data is stored in a session that the request opens; see Session.Data.
	Data any
}

// Server is an Engine.IO server. All its methods may be called concurrently.
type Server struct {
	cfg    atomic.Pointer[Config]
	accept func(*Session) Receiver
	wheel  *wheel
	live   atomic.Int64
	stats  Stats
	began  time.Time

	cutoffs cutoffLines

	mu       sync.Mutex
	sessions map[string]*Session // guarded by mu; includes closed ones that still owe an answer
	closed   bool                // guarded by mu
	open     sync.WaitGroup      // one for each session until Receiver.Closed has returned; added to under mu
}

// Stats counts why sessions ended, since the server was created.
type Stats struct {
	// Overflows counts clients that were cut off because of a full queue.
	Overflows atomic.Uint64

	// WriteTimeouts counts clients that were cut off because a write took
	// too long.
	WriteTimeouts atomic.Uint64

	// PingTimeouts counts clients that did not answer a heartbeat.
	PingTimeouts atomic.Uint64

	// Floods counts clients that were cut off because they sent too many
	// packets.
	Floods atomic.Uint64
}

// NewServer creates a server and starts its heartbeat. accept is called for
// each session before anything is read from it; packets that it sends follow
// the handshake. If accept returns nil, the client is told to try again later.
// Close ends the server.
func NewServer(cfg Config, accept func(*Session) Receiver) *Server {
	s := &Server{accept: accept, sessions: make(map[string]*Session), began: time.Now()}
	s.cutoffs.init()
	s.cfg.Store(&cfg)
	s.wheel = startWheel((*Session).beat)
	return s
}

// Configure changes the limits and timeouts.
func (s *Server) Configure(cfg Config) { s.cfg.Store(&cfg) }

// Len returns the number of open sessions.
func (s *Server) Len() int { return int(s.live.Load()) }

// Stats returns the server's counters.
func (s *Server) Stats() *Stats { return &s.stats }

// Sessions returns the sessions in no particular order. Some may have just
// ended.
func (s *Server) Sessions() []*Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	sessions := make([]*Session, 0, len(s.sessions))
	for _, session := range s.sessions {
		sessions = append(sessions, session)
	}
	return sessions
}

// Close ends all sessions, each with a transport close, and returns once every
// Receiver has been told. Later requests are refused.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	for _, session := range s.Sessions() {
		session.Abort(ServerShutdown)
	}
	s.open.Wait()
	s.wheel.stop()
}

// Serve answers one request to the Engine.IO endpoint, whatever its path. It
// returns once the answer is written; a websocket outlives the call.
func (s *Server) Serve(w http.ResponseWriter, r *http.Request, x Exchange) {
	if r.Method == http.MethodConnect && r.ProtoMajor > 1 {
		errExtendedConnect.write(w)
		return
	}
	if r.ContentLength != 0 {
		s.limitBody(w)
	}
	query := r.URL.Query()
	var refusal *protocolError
	switch transport := query.Get("transport"); {
	case query.Has("j"):
		refusal = errJSONP
	case transport != "polling" && transport != "websocket":
		refusal = errUnknownTransport
	case query.Get("sid") != "":
		refusal = s.serveSession(w, r, x, transport, query.Get("sid"))
	case r.Method != http.MethodGet:
		refusal = errHandshakeMethod
	case query.Get("EIO") != "4":
		refusal = errUnsupportedVersion
	case transport == "websocket":
		refusal = s.openWebSocket(w, r, x)
	default:
		refusal = s.openPolling(w, x)
	}
	if refusal != nil {
		refusal.write(w)
	}
}

// serveSession answers a request that names a session.
func (s *Server) serveSession(w http.ResponseWriter, r *http.Request, x Exchange, transport, sid string) *protocolError {
	s.mu.Lock()
	session := s.sessions[sid]
	s.mu.Unlock()
	switch {
	case session == nil:
		return errUnknownSession
	case transport == "websocket":
		return session.upgrade(w, r)
	case r.Method == http.MethodGet:
		return session.poll(w, r, x)
	case r.Method == http.MethodPost:
		return session.post(w, r, x)
	}
	return errSessionMethod
}

// register opens a session. The caller must still send its openPacket.
func (s *Server) register(x Exchange, cfg *Config) (*Session, *protocolError) {
	session := &Session{
		server:     s,
		id:         cfg.IDPrefix + random.Text(20), // unguessable
		data:       x.Data,
		interval:   cfg.PingInterval,
		timeout:    cfg.PingTimeout,
		maxPayload: cfg.MaxPayload,
		nextPing:   time.Now().Add(cfg.PingInterval),
	}
	session.timer.session = session
	session.receiving.Lock() // nothing is received before accept returns, not even a close
	defer session.receiving.Unlock()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, errClosing
	}
	s.sessions[session.id] = session
	s.open.Add(1)
	s.mu.Unlock()
	s.live.Add(1)
	busy := false
	session.guard(func() {
		session.receiver = s.accept(session)
		busy = session.receiver == nil
	})
	switch {
	case busy:
		session.Abort(ForcedClose)
		return nil, errBusy
	case session.receiver == nil: // accept panicked
		return nil, errAccept
	}
	return session, nil
}

// forget removes a session whose client needs no more answers.
func (s *Server) forget(session *Session) {
	s.mu.Lock()
	delete(s.sessions, session.id)
	s.mu.Unlock()
}

// openPacket encodes the handshake, which tells a client about its session.
func (s *Session) openPacket(upgrades ...string) *Packet {
	handshake, err := json.Marshal(struct {
		SID          string   `json:"sid"`
		Upgrades     []string `json:"upgrades"`
		PingInterval int64    `json:"pingInterval"`
		PingTimeout  int64    `json:"pingTimeout"`
		MaxPayload   int      `json:"maxPayload"`
	}{s.id, append([]string{}, upgrades...), s.interval.Milliseconds(), s.timeout.Milliseconds(), s.maxPayload})
	if err != nil {
		panic(err) // a struct of strings and integers
	}
	return control(typeOpen, handshake...)
}

// token reports whether a comma-separated header contains a token, ignoring
// case.
func token(h http.Header, name, want string) bool {
	for _, value := range h[name] {
		for part := range strings.SplitSeq(value, ",") {
			// EqualFold equates s with the long s (U+017F), which has more
			// bytes.
			if part = strings.TrimSpace(part); len(part) == len(want) && strings.EqualFold(part, want) {
				return true
			}
		}
	}
	return false
}
