package realtime

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/access"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/limit"
	"github.com/seed-c079cc48/caddy-realtime/internal/live"
	"github.com/seed-c079cc48/caddy-realtime/internal/stats"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/message"
)

// publisher takes an accepted publish to the channel's subscribers. It must
// not keep p.Data after it returns: the bytes are a request's body, whose
// buffer the next request uses. An *apierr.Error that it returns is answered as
// it is, such as apierr.Unavailable while the server drains.
type publisher interface {
	Publish(app string, p message.Publication) (published, error)
}

// published is the answer to a publish.
type published struct {
	// ID of the message.
	ID string `json:"id"`

	// Offset is the message's sequence number in its app.
	Offset uint64 `json:"offset"`

	// Subscribers are the sockets that it was queued for.
	Subscribers int `json:"subscribers"`
}

// write answers a publish. It is writeJSON without what is not needed on the
// way of every message: an id has no characters that JSON escapes.
func (p published) write(w http.ResponseWriter) {
	var buffer [128]byte
	b := append(buffer[:0], `{"id":"`...)
	b = append(b, p.ID...)
	b = append(b, `","offset":`...)
	b = strconv.AppendUint(b, p.Offset, 10)
	b = append(b, `,"subscribers":`...)
	b = strconv.AppendInt(b, int64(p.Subscribers), 10)
	b = append(b, "}\n"...)
	setHeaders(w.Header(),
		[]string{"Content-Type", "Content-Length"},
		[]string{"application/json", strconv.Itoa(len(b))})
	_, _ = w.Write(b)
}

// setHeaders sets headers whose names are in canonical form, as Set does one by
// one. The values are the answer's own: Caddy's header directive changes them
// in place.
func setHeaders(h http.Header, names, values []string) {
	for i, name := range names {
		h[name] = values[i : i+1 : i+1]
	}
}

// publishEndpoint serves POST /publish of one site. It is read only and safe
// for concurrent use; copying it costs nothing but its size.
type publishEndpoint struct {
	registry  *keystore.Registry
	limits    *limit.Group
	publisher publisher

	// settings have their defaults filled in.
	settings *Settings

	origins    *access.Origins
	appOrigins *access.AppOrigins
	refused    *access.RefusedOrigins
	live       *live.Feeds
	failed     *access.Failures
	arrived    *arrivals
	stats      *stats.Stats
	docs       docsPlace
	logger     *zap.Logger
}

const publishMethods = "POST, OPTIONS"

// ServeHTTP answers one publish, or the preflight of one.
func (e publishEndpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	authenticated := false
	message, err := e.serve(w, r, &authenticated)
	if err == nil {
		e.trace(r, message, nil)
		return
	}
	if _, ok := errors.AsType[*apierr.Error](err); !ok {
		e.logger.Error("publish failed", zap.Error(err))
	}
	refusal := e.docs.explain(apierr.As(err))
	if refusal.Status == http.StatusUnauthorized {
		rate := e.settings.AuthFailures
		e.failed.Hold(r.Context(), clientIP(r), rate.Count, time.Duration(rate.Window))
	}
	e.tellRefused(r, refusal, authenticated)
	e.trace(r, message, refusal)
	e.discard(w, r)
	refuse(w, r, refusal)
}

// tellRefused counts a refusal, and tells those who watch the app that the
// request claims to be of.
func (e publishEndpoint) tellRefused(r *http.Request, refusal *apierr.Error, authenticated bool) {
	app := r.Header.Get("X-App-Id")
	countRefusal(e.stats, e.registry, app, "publish", refusal)
	if !e.live.Watched(app) {
		return
	}
	e.live.Tell(app, live.Event{
		Kind: live.Refused, Attempt: "publish", ClientIP: clientIP(r), Code: refusal.Code, Cure: refusal.Message,
		Unauthenticated: !authenticated,
	})
}

// clientIP is the address of the client as Caddy sees it, behind the proxies
// that are trusted.
func clientIP(r *http.Request) string {
	if ip, ok := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string); ok {
		return ip
	}
	host, _, _ := net.SplitHostPort(r.RemoteAddr) // "" for a unix socket
	return host
}

// serve returns the message, none for what is no publish. It sets authenticated
// once it knows that the request has a key of the app.
func (e publishEndpoint) serve(w http.ResponseWriter, r *http.Request, authenticated *bool) (published, error) {
	if err := e.checkOrigin(w, r); err != nil {
		return published{}, err
	}
	if r.Method == http.MethodOptions {
		boundBody(w, r, e.settings)
	}
	switch {
	case access.IsPreflight(r):
		access.AnswerPublishPreflight(w)
		return published{}, nil
	case r.Method == http.MethodOptions:
		w.Header().Set("Allow", publishMethods)
		w.WriteHeader(http.StatusNoContent)
		return published{}, nil
	case r.Method != http.MethodPost:
		return published{}, apierr.MethodNotAllowed(r.Method, publishMethods)
	case access.IsEarly(r):
		return published{}, apierr.TooEarly()
	}
	if err := checkBodyType(r); err != nil {
		return published{}, err
	}
	app, err := e.authenticate(r)
	if err != nil {
		return published{}, err
	}
	*authenticated = true
	body := bodies.Get().(*bytes.Buffer)
	defer recycle(body)
	arriving := arrival{all: e.arrived, app: app.ID}
	defer arriving.end()
	if err := e.readBody(w, r, body, e.maxBody(app), &arriving); err != nil {
		return published{}, err
	}
	received := time.Now()
	p, err := message.Decode(body.Bytes())
	if err != nil {
		return published{}, err
	}
	if err := e.allow(w.Header(), app); err != nil {
		return published{}, err
	}
	p.Received = received
	message, err := e.publisher.Publish(app.ID, p)
	if err != nil {
		return published{}, err
	}
	message.write(w)
	return message, nil
}

// checkOrigin refuses pages that the site does not list, and lets the others
// read every answer from here on.
func (e publishEndpoint) checkOrigin(w http.ResponseWriter, r *http.Request) error {
	if !e.origins.Allows(r) {
		e.refused.Log(e.logger, e.origins, r)
		return access.SiteOriginError(r)
	}
	if _, err := access.OnlyHeader(r, "Origin"); err != nil { // an app's list would see the first only
		return err
	}
	e.origins.SetCORS(w.Header(), r)
	if len(r.Header["Origin"]) > 0 {
		w.Header().Set("Access-Control-Expose-Headers", "RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After")
	}
	return nil
}

// authenticate finds the app whose key the request carries, and applies the
// app's own list of origins.
func (e publishEndpoint) authenticate(r *http.Request) (*keystore.App, error) {
	appID, secret, err := access.PublishCredentials(r)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	app, key, err := access.Authenticate(e.registry, keystore.Publish, appID, secret, now)
	if err != nil {
		return nil, err
	}
	e.registry.Used(app, key, now)
	return app, e.appOrigins.Check(app, r)
}

// checkBodyType refuses what is not plain JSON in UTF-8.
func checkBodyType(r *http.Request) error {
	coding, err := access.OnlyHeader(r, "Content-Encoding")
	if err != nil {
		return err
	}
	if coding != "" && !strings.EqualFold(coding, "identity") {
		return apierr.UnsupportedMediaType("The body's Content-Encoding is %s. Send it uncompressed.", text.Quote(coding))
	}
	contentType, err := access.OnlyHeader(r, "Content-Type")
	switch {
	case err != nil:
		return err
	case contentType == "application/json": // as nearly all send it
		return nil
	case contentType == "":
		return apierr.UnsupportedMediaType("There is no Content-Type. Send Content-Type: application/json.")
	}
	mediaType, params, err := mime.ParseMediaType(contentType)
	if err != nil || mediaType != "application/json" {
		return apierr.UnsupportedMediaType("The Content-Type is %s. Send Content-Type: application/json.", text.Quote(contentType))
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") && !strings.EqualFold(charset, "utf8") {
		return apierr.UnsupportedMediaType("The body's charset is %s. Send JSON in UTF-8.", text.Quote(charset))
	}
	return nil
}

// maxBody is the app's bound, but no more than the site's.
func (e publishEndpoint) maxBody(app *keystore.App) int64 {
	if app.MaxBody > 0 {
		return min(app.MaxBody, e.settings.MaxBody)
	}
	return e.settings.MaxBody
}

// readBody reads the whole body, bounded in bytes and in time. A large one needs
// room among those that arrive.
func (e publishEndpoint) readBody(w http.ResponseWriter, r *http.Request, body *bytes.Buffer, maxBody int64, arriving *arrival) error {
	if r.ContentLength > maxBody {
		return apierr.PayloadTooLarge(maxBody, strconv.FormatInt(r.ContentLength, 10))
	}
	// A declared length is a claim: believe it as far as it costs nothing.
	body.Grow(int(min(max(r.ContentLength, 0), maxPooledBody-bytes.MinRead)) + bytes.MinRead)

	conn := http.NewResponseController(w)
	// A writer without deadlines leaves the server's own timeouts in force.
	_ = conn.SetReadDeadline(time.Now().Add(time.Duration(e.settings.BodyTimeout)))
	n, err := body.ReadFrom(io.LimitReader(r.Body, min(maxBody+1, maxSmallBody)))
	if err == nil && n == maxSmallBody {
		size := r.ContentLength
		if size < 0 {
			size = maxBody
		}
		if !arriving.take(size) {
			return apierr.Unavailable("Too many large publishes of this app arrive at a time. Send fewer at a time, or smaller ones.", time.Second)
		}
		body.Grow(int(max(size-n, 0)) + bytes.MinRead)
		var rest int64
		rest, err = body.ReadFrom(io.LimitReader(r.Body, maxBody+1-n))
		n += rest
	}
	if err != nil {
		// The deadline stays: the server may read on before it answers.
		closeAfter(w, r)
		return e.bodyError(n, err)
	}
	if n > maxBody {
		return apierr.PayloadTooLarge(maxBody, "more than "+strconv.FormatInt(maxBody, 10))
	}
	_ = conn.SetReadDeadline(time.Time{})
	return nil
}

// maxSmallBody is the largest body that needs no room.
const maxSmallBody = maxPooledBody - bytes.MinRead

// maxDiscard bounds what is read of a body that is refused.
const maxDiscard = 8 << 20

// discard reads what is left of a body that is refused, within the time for one,
// unless it is far too large, broke off, or its client waits to be told. Who
// still sends when the connection is closed never reads why, and net/http does
// close it where a proxy has asked for that.
func (e publishEndpoint) discard(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor != 1 || w.Header().Get("Connection") == "close" {
		return
	}
	boundBody(w, r, e.settings)
	if r.ContentLength <= maxDiscard && r.Header.Get("Expect") == "" {
		n, err := io.Copy(io.Discard, io.LimitReader(r.Body, maxDiscard))
		if err == nil && n < maxDiscard {
			_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
			return
		}
	}
	closeAfter(w, r)
}

// boundBody bounds how long the body of a request may take to arrive that is
// answered without it: net/http waits for the body before it sends the answer,
// or after that where the client has asked whether to send it.
func boundBody(w http.ResponseWriter, r *http.Request, settings *Settings) {
	if r.ContentLength != 0 {
		// A writer without deadlines leaves the server's own timeouts in force.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Duration(settings.BodyTimeout)))
	}
}

// bodyError says why a body could be read no further than n bytes.
func (e publishEndpoint) bodyError(n int64, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return apierr.InvalidRequest("The body did not arrive within %s, only %d bytes of it. Send it whole, or a smaller one.",
			text.ShortDuration(time.Duration(e.settings.BodyTimeout)), n)
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok { // Caddy's own request_body limit
		return apierr.PayloadTooLarge(tooLarge.Limit, "more than "+strconv.FormatInt(tooLarge.Limit, 10))
	}
	return apierr.InvalidRequest("The body broke off after %d bytes. Send as many as its Content-Length says, or end its last chunk.", n)
}

// closeAfter has the connection closed after the answer, so that the server
// need not read what was refused. In HTTP/2 the header would end every other
// request of the connection; a stream ends by itself.
func closeAfter(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
}

// allow counts the publish against the app's limit, its own or the default.
// It comes last, so that what was refused for another reason costs nothing.
func (e publishEndpoint) allow(h http.Header, app *keystore.App) error {
	publishes, window := e.settings.RateLimit.Publishes, time.Duration(e.settings.RateLimit.Window)
	if app.Rate != nil {
		publishes, window = app.Rate.Limit, app.Rate.Window
	}
	if publishes == 0 {
		return nil
	}
	result := e.limits.Allow(app.ID, publishes, window)
	// Sent as Ratelimit-Limit, which is the same name (RFC 9110, section 5.1):
	// handlers that change headers look for that spelling only.
	setHeaders(h,
		[]string{"Ratelimit-Limit", "Ratelimit-Remaining", "Ratelimit-Reset"},
		[]string{strconv.Itoa(result.Limit), strconv.Itoa(result.Remaining), text.WholeSeconds(result.Reset)})
	if !result.OK {
		return apierr.RateLimited(publishes, window, result.RetryAfter)
	}
	return nil
}

// maxPooledBody keeps one large publish from being remembered for ever.
const maxPooledBody = 64 << 10

var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func recycle(body *bytes.Buffer) {
	if body.Cap() <= maxPooledBody {
		body.Reset()
		bodies.Put(body)
	}
}

// Interface guards
var _ http.Handler = publishEndpoint{}
