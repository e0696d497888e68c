package realtime

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
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
	"github.com/seed-c079cc48/caddy-realtime/message"
	"github.com/seed-c079cc48/caddy-realtime/socketio"
)

// A visitor is what is kept of the request that opened a session, for the
// CONNECT which comes later and elsewhere.
type visitor struct {
	ip     string
	origin http.Header // Origin and nothing else, nil without
	site   docsPlace

	endpoint unique.Handle[endpoint]

	// refusal is why nobody may connect from there, if so. It waits for the
	// CONNECT because only its answer reaches the client as connect_error.
	refusal *apierr.Error

	// query names the query parameter that looks like credentials.
	query string

	// keyInQuery says that it is a key.
	keyInQuery bool

	// over says that it counts as such in the admission, opened that its session
	// was opened.
	over, opened bool

	// socket is the last that was let in on the session.
	socket atomic.Pointer[socket]
}

// request is what there is to know of an origin.
func (v *visitor) request() *http.Request {
	return &http.Request{Header: v.origin, Host: v.site.host}
}

// A socket is one client: the rules of what it may do.
type socket struct {
	runtime *runtime
	conn    *socketio.Socket
	visitor *visitor
	app     string                        // the claimed app's id, "" before Connect
	key     atomic.Pointer[keystore.Key]  // nil until it was checked
	member  *hub.Member[*engineio.Packet] // set before since is
	since   atomic.Int64                  // when it was let in, in Unix seconds; 0 before
	stats   *stats.App                    // where it is counted, set when it is let in
	counted int                           // subscriptions already included in stats.Subscriptions

	admitted bool // by runtime.sockets; Connect's own
}

// A guest is a session that is counted in the admission until it ends.
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

// open begins to serve a session, as engineio.NewServer wants it.
func (rt *runtime) open(session *engineio.Session) engineio.Receiver {
	receiver := rt.sio.Open(session)
	if receiver == nil {
		return nil
	}
	v := session.Data().(*visitor)
	v.opened = true
	return guest{receiver, rt, v}
}

// neededPackets is how many packets a session's client may send in any case: a
// subscribe and an unsubscribe for each of its channels, and what it takes to
// connect. It blocks on nothing.
func neededPackets(data any) int {
	const connecting = 10
	if s := data.(*visitor).socket.Load(); s != nil {
		return connecting + 2*s.maxChannels()
	}
	return connecting
}

// accept makes the rules of a socket that is about to connect.
func (rt *runtime) accept(conn *socketio.Socket) socketio.Handler {
	v, _ := conn.Session().Data().(*visitor)
	return &socket{runtime: rt, conn: conn, visitor: v}
}

// Connect implements socketio.Handler.
func (s *socket) Connect(auth json.RawMessage) error {
	connected := false
	defer func() { // also after a panic, of which socketio tells nobody else
		switch {
		case connected || s.app == "":
		case s.since.Load() != 0:
			s.Disconnect("panic")
		case s.admitted:
			s.runtime.sockets.leave(s.app, s)
		default:
			s.runtime.sockets.remove(s.app, s)
		}
	}()
	err := s.connect(auth)
	if err == nil {
		s.tell(live.Event{Kind: live.Connected})
		connected = true
		return nil
	}
	refusal := s.visitor.site.explain(apierr.As(err))
	if c := s.runtime.log.Check(zap.DebugLevel, "connection refused"); c != nil {
		c.Write(zap.String("code", refusal.Code), zap.String("client_ip", s.visitor.ip), zap.String("app", text.Quote(s.app)))
	}
	s.tellRefused("connect", "", refusal)
	if refusal.Status == http.StatusUnauthorized {
		rate := s.runtime.settings().AuthFailures
		s.runtime.failed.Hold(context.Background(), s.visitor.ip, rate.Count, time.Duration(rate.Window))
	}
	return &socketio.Refusal{Message: refusal.Message, Data: refusal}
}

// tell tells those who watch the app.
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

// countSubscriptions is called after each change to them. As the calls of a
// Handler never overlap, those of a socket are always counted in full.
func (s *socket) countSubscriptions() {
	now := s.member.Len()
	s.stats.Subscriptions.Add(float64(now - s.counted))
	s.counted = now
}

// tellRefused counts a refusal, and tells those who watch the app.
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
	appID, secret, err := s.credentials(auth)
	if err != nil {
		return err
	}
	s.app = appID
	s.runtime.sockets.add(appID, s)
	if sites := s.runtime.sites.Load(); sites != nil && !sites.allow(s.visitor) {
		return access.SiteOriginError(s.visitor.request()) // withdrawn since the session was opened
	}
	app, err := s.authenticate(appID, secret)
	if err != nil {
		return err
	}
	if !s.runtime.sockets.admit(app.ID, app.MaxConnections) {
		return apierr.TooManyConnections(app.MaxConnections)
	}
	s.admitted = true
	s.runtime.registry.Used(app, s.key.Load(), time.Now())
	s.member = s.runtime.hub.Join(app.ID, s)
	s.stats = s.runtime.stats.App(app.ID)
	s.stats.Connections.Inc()
	s.since.Store(time.Now().Unix())
	s.visitor.socket.Store(s)
	return nil
}

// authenticate checks the credentials against the app as it is now. A change
// or an expiry that comes meanwhile is either seen here or finds the socket's
// key set, see sockets.recheck.
func (s *socket) authenticate(appID, secret string) (*keystore.App, error) {
	for {
		app, key, err := access.Authenticate(s.runtime.registry, keystore.Subscribe, appID, secret, time.Now())
		if err != nil {
			return nil, err
		}
		s.key.Store(key)
		if !key.Expires.IsZero() {
			s.runtime.expiry.Watch(appID)
		}
		if now, ok := s.runtime.registry.App(appID); !ok || now != app || key.Check(time.Now()) != nil {
			continue
		}
		return app, s.runtime.appOrigins.Check(app, s.visitor.request())
	}
}

// credentials reads the handshake's auth. Names are matched exactly; what else
// is in it is the application's.
func (s *socket) credentials(auth json.RawMessage) (appID, secret string, err error) {
	var fields map[string]json.RawMessage
	if auth != nil {
		if err := json.Unmarshal(auth, &fields); err != nil {
			return "", "", apierr.InvalidRequest("auth must be an object: io(url, { auth: { appId, subscribeKey } }).")
		}
	}
	if appID, err = textField(fields, "appId"); err != nil {
		return "", "", err
	}
	if secret, err = textField(fields, "subscribeKey"); err != nil {
		return "", "", err
	}
	switch {
	case appID == "":
		return "", "", apierr.MissingAppID(keystore.Subscribe, s.visitor.query)
	case access.LooksLikeKey(appID):
		return "", "", apierr.KeyAsAppID(keystore.Subscribe, strings.TrimPrefix(appID, "Bearer "))
	case secret == "":
		return "", "", apierr.MissingKey(keystore.Subscribe, s.visitor.query)
	}
	return appID, secret, nil
}

// textField is a string of auth, "" where it is absent or null.
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

// mayStay says whether a live socket's credentials are still good after a
// change to its app.
func (s *socket) mayStay(app *keystore.App) bool {
	if app.Disabled {
		return false
	}
	key := s.key.Load()
	if key == nil {
		return true // it will be checked against the changed app
	}
	for _, k := range app.Keys {
		if k.ID == key.ID {
			return k.Check(time.Now()) == nil
		}
	}
	return false
}

// mayStayFrom says whether a live socket's origin is allowed after a change to
// its app.
func (s *socket) mayStayFrom(app *keystore.App) bool {
	// One without a key will be checked against the changed app.
	return s.key.Load() == nil || s.runtime.appOrigins.Check(app, s.visitor.request()) == nil
}

// ID implements hub.Subscriber. The client knows it as socket.id.
func (s *socket) ID() string { return s.conn.ID() }

// Queue implements hub.Subscriber.
func (s *socket) Queue(p *engineio.Packet) hub.Flusher {
	if s.conn.Queue(p) {
		return s.conn.Session()
	}
	return nil
}

// Screen implements socketio.Screener: nothing that is refused is read first.
func (s *socket) Screen(e *socketio.Event) error {
	if limit, wait := s.conn.Session().Excess(); limit > 0 {
		return apierr.MessageRate(limit, wait)
	}
	if e.Name != "subscribe" && e.Name != "unsubscribe" {
		return apierr.NotAllowed()
	}
	if e.Binaries > 0 {
		return errOneArgument(e.Name)
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
	default:
		s.unsubscribe(e)
	}
	return nil
}

// refuseEvent says that nothing was done. Clients cannot publish, for example:
// that reaches nobody, and costs an answer only where one was asked for.
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

// refused is the acknowledgement of what was refused.
type refused struct {
	Error *apierr.Error `json:"error"`
}

// inChannel is the answer to a subscribe or unsubscribe.
type inChannel struct {
	Channel string `json:"channel"`
}

// maxChannels is the app's bound, or else the configuration's.
func (s *socket) maxChannels() int {
	if app, ok := s.runtime.registry.App(s.app); ok && app.MaxChannels > 0 {
		return app.MaxChannels
	}
	return s.runtime.settings().MaxChannels
}

// subscribe puts the socket into a channel. The answer comes before the
// channel's first event. If the broker has to be waited for, that is the rest.
func (s *socket) subscribe(e *socketio.Event) (rest func(context.Context)) {
	channel, err := channelOf(e)
	if err != nil {
		s.refuse(e, channel, apierr.As(err))
		return nil
	}
	limit, joined := s.maxChannels(), func() { s.answer(e, "subscribed", channel) }
	if done, err := s.member.TrySubscribe(channel, limit, joined); done {
		s.subscribed(e, channel, limit, err)
		return nil
	}
	return func(ctx context.Context) {
		err := s.member.Subscribe(ctx, channel, limit, joined)
		if ctx.Err() == nil || err == nil { // else nobody is there to be told
			s.subscribed(e, channel, limit, err)
		}
	}
}

// subscribed goes on when the hub has answered.
func (s *socket) subscribed(e *socketio.Event, channel string, limit int, err error) {
	switch {
	case err == nil:
		s.countSubscriptions()
		s.tell(live.Event{Kind: live.Subscribed, Channel: channel})
	case errors.Is(err, hub.ErrClosed):
		// Nobody is there to be told.
	case errors.Is(err, hub.ErrTooMany):
		s.refuse(e, channel, apierr.TooManyChannels(limit))
	default:
		s.runtime.log.Error("subscribe failed", zap.String("app", s.app), zap.Error(err))
		s.refuse(e, channel, apierr.As(err))
	}
}

// unsubscribe takes the socket out of a channel, also if it was not in.
func (s *socket) unsubscribe(e *socketio.Event) {
	channel, err := channelOf(e)
	if err != nil {
		s.refuse(e, channel, apierr.As(err))
		return
	}
	s.member.Unsubscribe(channel)
	s.countSubscriptions()
	s.answer(e, "unsubscribed", channel)
	s.tell(live.Event{Kind: live.Unsubscribed, Channel: channel})
}

func (s *socket) answer(e *socketio.Event, event, channel string) {
	data, _ := json.Marshal(inChannel{channel}) // a struct of a string
	s.conn.Send(socketio.EventPacket(event, data))
	e.Ack(inChannel{channel})
}

func (s *socket) refuse(e *socketio.Event, channel string, refusal *apierr.Error) {
	refusal = s.visitor.site.explain(refusal)
	data, _ := json.Marshal(struct { // a struct of strings
		Channel string `json:"channel"`
		*apierr.Error
	}{channel, refusal})
	s.tellRefused("subscribe", channel, refusal)
	s.conn.Send(socketio.EventPacket("subscribe_error", data))
	e.Ack(refused{refusal})
}

// channelOf reads the one argument of subscribe and unsubscribe. It returns
// what could be read of it with the error.
func channelOf(e *socketio.Event) (string, error) {
	if len(e.Args) != 1 {
		return "", errOneArgument(e.Name)
	}
	var channel string
	if err := json.Unmarshal(e.Args[0], &channel); err != nil || e.Args[0][0] != '"' {
		return "", apierr.InvalidChannel(`A channel is a string: socket.emit("%s", "orders.42").`, e.Name)
	}
	if err := message.CheckChannel(channel); err != nil {
		return channel[:min(len(channel), maxEcho)], err
	}
	return channel, nil
}

func errOneArgument(event string) *apierr.Error {
	return apierr.InvalidRequest(`%s takes one argument, a channel: socket.emit("%s", "orders.42").`, event, event)
}

// maxEcho bounds how much of a bad channel's name comes back, in bytes.
const maxEcho = 256

// Disconnect implements socketio.Handler.
func (s *socket) Disconnect(reason string) {
	s.member.Close()
	s.countSubscriptions()
	s.stats.Connections.Dec()
	s.runtime.sockets.leave(s.app, s)
	s.tell(live.Event{Kind: live.Disconnected, Reason: reason})
	if c := s.runtime.log.Check(zap.DebugLevel, "disconnected"); c != nil {
		c.Write(zap.String("app", s.app), zap.String("socket", s.conn.ID()),
			zap.String("reason", reason), zap.String("client_ip", s.visitor.ip))
	}
}

// Interface guards
var (
	_ socketio.Handler                 = (*socket)(nil)
	_ socketio.Screener                = (*socket)(nil)
	_ hub.Subscriber[*engineio.Packet] = (*socket)(nil)
)
