package realtime

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/access"
	"github.com/seed-c079cc48/caddy-realtime/engineio"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/jsonscan"
	"github.com/seed-c079cc48/caddy-realtime/internal/live"
	"github.com/seed-c079cc48/caddy-realtime/internal/stats"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/socketio"
	"github.com/seed-c079cc48/caddy-realtime/token"
	"github.com/seed-c079cc48/caddy-realtime/webhook"
)

// A visitor holds what a later CONNECT needs of the request that opened the
// session.
type visitor struct {
	ip     string
	origin http.Header // only the Origin header; nil without one
	site   docsPlace

	endpoint unique.Handle[endpoint]

	// refusal is the reason to refuse any CONNECT of the session, or nil. It
	// waits for the CONNECT, whose answer alone reaches the client as connect_error.
	refusal *apierr.Error

	// query is the name of a query parameter that looks like credentials.
	query string

	// keyInQuery reports whether that parameter is a key.
	keyInQuery bool

	// over reports whether the admission counts the visitor as over the limit,
	// opened whether its session was opened.
	over, opened bool

	// socket is the last socket admitted on the session.
	socket atomic.Pointer[socket]
}

// request returns a request with what is needed to check an origin.
func (v *visitor) request() *http.Request {
	return &http.Request{Header: v.origin, Host: v.site.host}
}

// A socket is one client and the rules for what it can do.
type socket struct {
	runtime *runtime
	conn    *socketio.Socket
	visitor *visitor
	app     string                           // claimed ID; "" before Connect
	key     atomic.Pointer[keystore.Key]     // nil until checked; without a subscribe key, that of its token
	rights  atomic.Pointer[rights]           // nil without tokens
	member  *hub.Member[*socketio.Broadcast] // set before since
	since   atomic.Int64                     // when it was admitted, in Unix seconds; 0 before
	stats   *stats.App                       // counts the socket; set when it is admitted

	counting sync.Mutex // guards the fields below
	counted  int        // subscriptions already included in stats.Subscriptions
	relayed  *relayed   // nil until it has sent an event to others

	admitted bool // by runtime.sockets; only Connect uses it
	recovers bool // the client asked for recovery, so its events end in their IDs
}

// A guest is a counted receiver: a session in the admission's counts until it ends.
type guest struct {
	engineio.Receiver
	runtime *runtime
	visitor *visitor
}

// Closed implements engineio.Receiver.
func (g guest) Closed(reason engineio.Reason) {
	defer g.runtime.admission.Leave(g.visitor.ip, g.visitor.over)
	g.Receiver.Closed(reason)
}

// open starts serving a session, as engineio.NewServer requires.
func (rt *runtime) open(session *engineio.Session) engineio.Receiver {
	receiver := rt.sio.Open(session)
	if receiver == nil {
		return nil
	}
	v := session.Data().(*visitor)
	v.opened = true
	return guest{receiver, rt, v}
}

// neededPackets returns how many packets a session's client can always send: those
// to connect, and a subscribe and an unsubscribe for each channel. It does not
// block.
func neededPackets(data any) int {
	const connecting = 10
	if s := data.(*visitor).socket.Load(); s != nil {
		return connecting + 2*s.maxChannels()
	}
	return connecting
}

// accept returns the handler of a socket that is about to connect.
func (rt *runtime) accept(conn *socketio.Socket) socketio.Handler {
	v, _ := conn.Session().Data().(*visitor)
	return &socket{runtime: rt, conn: conn, visitor: v}
}

// Connect implements socketio.Handler.
func (s *socket) Connect(auth json.RawMessage) error {
	connected := false
	defer func() { // also after a panic, which socketio reports to nothing else
		switch {
		case connected || s.app == "":
		case s.since.Load() != 0:
			s.Disconnect("connect failed")
		case s.admitted:
			s.runtime.sockets.leave(s.app, s)
		default:
			s.runtime.sockets.remove(s.app, s)
		}
	}()
	err := s.connect(auth)
	if err == nil {
		s.tell(live.Event{Kind: live.Connected})
		s.tellHooks(webhook.ConnectionOpened, "")
		connected = true
		return nil
	}
	refusal := s.visitor.site.explain(apierr.As(err))
	if c := s.runtime.log.Check(zap.DebugLevel, "connection refused"); c != nil {
		c.Write(zap.String("code", refusal.Code), zap.String("client_ip", s.visitor.ip), zap.String("app", text.Quote(s.app)))
	}
	s.tellRefused("connect", "", refusal)
	if isGuess(refusal) {
		s.holdGuess(context.Background())
	}
	return &socketio.Refusal{Message: refusal.Message, Data: refusal}
}

// tell sends an event to the app's live views.
func (s *socket) tell(e live.Event) {
	feeds := &s.runtime.live
	if !feeds.Watched(s.app) {
		return
	}
	e.Socket, e.ClientIP, e.Channel = s.conn.ID(), s.visitor.ip, text.MaskKeys(e.Channel)
	if key := s.key.Load(); key != nil {
		e.Key = key.ID
	}
	feeds.Tell(s.app, e)
}

// countSubscriptions must be called after each change to the socket's
// subscriptions.
func (s *socket) countSubscriptions() {
	s.counting.Lock()
	defer s.counting.Unlock()
	now := s.member.Len()
	s.stats.Subscriptions.Add(float64(now - s.counted))
	s.counted = now
}

// tellRefused counts a refusal and reports it to the app's live views.
func (s *socket) tellRefused(attempt, channel string, refusal *apierr.Error) {
	s.runtime.refuse(s.app, attempt, refusal)
	s.tell(live.Event{Kind: live.Refused, Attempt: attempt, Channel: channel, Code: refusal.Code, Cure: refusal.Message, Unauthenticated: attempt == "connect"})
}

func (s *socket) connect(auth json.RawMessage) error {
	if s.visitor.refusal != nil {
		return s.visitor.refusal
	}
	if s.visitor.keyInQuery {
		return apierr.InvalidRequest("The query string contains a key (%s), which ends up in logs. "+
			"Send it in auth: io(url, { auth: { appId, subscribeKey } }), and rotate it.", s.visitor.query)
	}
	c, err := s.credentials(auth)
	if err != nil {
		return err
	}
	s.app = c.app
	s.runtime.sockets.add(c.app, s)
	if sites := s.runtime.sites.Load(); sites != nil && !sites.allow(s.visitor) {
		return access.SiteOriginError(s.visitor.request()) // withdrawn after the session was opened
	}
	app, err := s.authenticated(c)
	if err != nil {
		return err
	}
	if s.recovers = c.asked.recover; s.recovers && s.rights.Load() == nil {
		s.rights.Store(new(rights)) // for its session
	}
	if !s.recover(app, c.asked) {
		if !s.runtime.admitSocket(app) {
			return apierr.TooManyConnections(app.MaxConnections)
		}
		s.admitted = true
		if !s.runtime.sockets.enter(s, s.rights.Load().name(), app.MaxConnectionsPerUser) {
			return apierr.TooManyOfUser(app.MaxConnectionsPerUser)
		}
		s.member = s.runtime.hub.Join(app.ID, s)
	}
	s.runtime.registry.Used(app, s.key.Load(), time.Now())
	s.stats = s.runtime.stats.App(app.ID)
	s.stats.Connections.Inc()
	s.countSubscriptions()
	s.since.Store(time.Now().Unix())
	s.visitor.socket.Store(s)
	if !s.conn.Opened() {
		if err := s.open(app, c.asked); err != nil {
			return err
		}
	}
	if r := s.rights.Load(); r != nil {
		s.runtime.sockets.enter(s, r.name(), 0) // also a client that has come back
		s.attendAgain(app)
		r.await(s.tokensDue)
		s.recheck() // what changed since authenticated
	}
	return nil
}

// open answers the CONNECT of a client that begins.
func (s *socket) open(app *keystore.App, asked recoverRequest) error {
	pid := ""
	if within := s.runtime.settings().recovery(app); s.recovers && within > 0 {
		pid = s.runtime.hub.Begin(s.member, asked.position, within, s.rights.Load()).PID()
	}
	err := s.joinUser(func() { s.conn.Open("", pid) })
	if err != nil { // stock clients try again after a lost connection, not after a CONNECT_ERROR
		s.conn.Session().Close(notReady)
	}
	return err
}

// authenticated checks the credentials against the app's current state. A
// concurrent change or expiry is either seen here or finds the socket's key set,
// see sockets.recheck.
func (s *socket) authenticated(c credentials) (*keystore.App, error) {
	for {
		app, key, err := s.check(c)
		if err != nil {
			return nil, err
		}
		s.key.Store(key)
		if !key.Expires.IsZero() || c.token != "" {
			s.runtime.expiry.Watch(c.app)
		}
		if now, ok := s.runtime.registry.App(c.app); !ok || now != app || key.Check(time.Now()) != nil {
			continue
		}
		return app, s.appOrigin(app)
	}
}

// check returns the app, and the key that lets the client in: its subscribe key, or
// that of its token.
func (s *socket) check(c credentials) (app *keystore.App, key *keystore.Key, err error) {
	now := time.Now()
	if c.key != "" {
		if app, key, err = access.Authenticate(s.runtime.registry, keystore.Subscribe, c.app, c.key, now); err != nil {
			return nil, nil, err
		}
	} else {
		var ok bool
		if app, ok = s.runtime.registry.App(c.app); !ok {
			return nil, nil, apierr.UnknownApp(c.app)
		}
	}
	if c.token == "" {
		return app, key, nil
	}
	t, err := token.Verify(app, c.token, now)
	if err != nil {
		return nil, nil, err
	}
	if app.Disabled {
		return nil, nil, apierr.AppDisabled()
	}
	r := new(rights)
	if err := r.use(t, ""); err != nil {
		return nil, nil, err
	}
	s.rights.Store(r)
	if key == nil {
		key = app.Key(t.Key)
	}
	return app, key, nil
}

func (s *socket) appOrigin(app *keystore.App) error {
	return s.runtime.appOrigins.Check(app, s.visitor.request())
}

// credentials are what the handshake's auth says about who the client is.
type credentials struct {
	app, key, token string
	asked           recoverRequest
}

// credentials reads the handshake's auth. Field names match exactly; other fields
// belong to the application.
func (s *socket) credentials(auth json.RawMessage) (c credentials, err error) {
	var fields map[string]json.RawMessage
	if auth != nil {
		if err := json.Unmarshal(auth, &fields); err != nil {
			return c, apierr.InvalidRequest("auth must be an object: io(url, { auth: { appId, subscribeKey } }).")
		}
	}
	for _, field := range []struct {
		name string
		into *string
	}{{"appId", &c.app}, {"subscribeKey", &c.key}, {"token", &c.token}} {
		if *field.into, err = textField(fields, field.name); err != nil {
			return c, err
		}
	}
	switch {
	case c.app == "":
		err = apierr.MissingAppID(keystore.Subscribe, s.visitor.query)
	case access.LooksLikeKey(c.app):
		err = apierr.KeyAsAppID(keystore.Subscribe, strings.TrimPrefix(c.app, "Bearer "))
	case c.key == "" && c.token == "":
		err = apierr.MissingKey(keystore.Subscribe, s.visitor.query)
	default:
		c.asked, err = readRecoverRequest(fields)
	}
	return c, err
}

// textField returns a string field of auth, or "" if it is absent or null.
func textField(fields map[string]json.RawMessage, name string) (string, error) {
	raw := fields[name]
	if jsonscan.IsNull(raw) {
		return "", nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return "", apierr.InvalidRequest("auth.%s must be a string.", name)
	}
	return text, nil
}

// mayStay reports whether a connected socket's credentials are still valid after a
// change to its app.
func (s *socket) mayStay(app *keystore.App) bool {
	if app.Disabled {
		return false
	}
	key := s.key.Load()
	if key == nil || key.Kind == keystore.Sign {
		return true // Connect checks it against the changed app, or recheck does
	}
	for _, k := range app.Keys {
		if k.ID == key.ID {
			return k.Check(time.Now()) == nil
		}
	}
	return false
}

// mayStayFrom reports whether a connected socket's origin is still allowed after a
// change to its app.
func (s *socket) mayStayFrom(app *keystore.App) bool {
	// Without a key yet, Connect checks the socket against the changed app.
	return s.key.Load() == nil || s.appOrigin(app) == nil
}

// ID implements hub.Subscriber. Clients see it as socket.id.
func (s *socket) ID() string { return s.conn.ID() }

// Queue implements hub.Subscriber.
func (s *socket) Queue(b *socketio.Broadcast) hub.Flusher {
	if s.conn.Queue(s.packet(b)) {
		return s.conn.Session()
	}
	return nil
}

// Screen implements socketio.Screener. It refuses an event before reading its
// arguments.
func (s *socket) Screen(e *socketio.Event) error {
	if limit, wait := s.conn.Session().Excess(); limit > 0 {
		return apierr.MessageRate(limit, wait)
	}
	switch e.Name {
	case "subscribe", "unsubscribe":
	case "authenticate", "client":
		if e.Binaries > 0 {
			return apierr.InvalidRequest("%s takes no binary data.", e.Name)
		}
	default:
		return apierr.NotAllowed()
	}
	if e.Binaries > 0 {
		return errArguments(e.Name)
	}
	return nil
}

// Event implements socketio.Handler.
func (s *socket) Event(e *socketio.Event) (rest func(context.Context)) {
	switch {
	case e.Refused != nil:
		s.refuseEvent(e, apierr.As(e.Refused))
	case e.Name == "subscribe":
		return s.subscribe(e)
	case e.Name == "authenticate":
		return s.authenticate(e)
	case e.Name == "client":
		return s.relay(e)
	default:
		s.unsubscribe(e)
	}
	return nil
}

// refuseEvent reports that an event had no effect. A client's attempt to publish,
// for example, reaches nobody and gets an answer only if the client requested one.
func (s *socket) refuseEvent(e *socketio.Event, refusal *apierr.Error) {
	if e.Name == "subscribe" || e.Name == "unsubscribe" {
		channel, _ := channelOf(e)
		s.refuse(e, channel, refusal)
		return
	}
	refusal = s.visitor.site.explain(refusal)
	s.tellRefused("emit", "", refusal)
	e.Ack(refused{refusal})
}

// refused is the acknowledgement of a refused event.
type refused struct {
	Error *apierr.Error `json:"error"`
}

// Disconnect implements socketio.Handler.
func (s *socket) Disconnect(reason string) {
	if r := s.rights.Load(); r != nil {
		r.end()
		s.absentEverywhere()
	}
	s.member.Leave(s.returnTime(reason))
	s.countSubscriptions()
	s.stats.Connections.Dec()
	s.runtime.sockets.leave(s.app, s)
	if s.since.Load() != 0 { // otherwise it was replaced, which was told by then
		s.tell(live.Event{Kind: live.Disconnected, Reason: reason})
		s.tellHooks(webhook.ConnectionClosed, reason)
	}
	if c := s.runtime.log.Check(zap.DebugLevel, "disconnected"); c != nil {
		c.Write(zap.String("app", s.app), zap.String("socket", s.conn.ID()),
			zap.String("reason", reason), zap.String("client_ip", s.visitor.ip))
	}
}

// Interface guards
var (
	_ socketio.Handler                    = (*socket)(nil)
	_ socketio.Screener                   = (*socket)(nil)
	_ hub.Subscriber[*socketio.Broadcast] = (*socket)(nil)
)
