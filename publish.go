package realtime

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/access"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/idempotent"
	"github.com/seed-c079cc48/caddy-realtime/internal/live"
	"github.com/seed-c079cc48/caddy-realtime/internal/respond"
	"github.com/seed-c079cc48/caddy-realtime/internal/site"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/message"
)

// publishEndpoint serves POST /publish of one site. It is read-only and safe for
// concurrent use, and cheap to copy.
type publishEndpoint struct {
	registry  *keystore.Registry
	publisher *publisher

	// settings include the defaults.
	settings *Settings

	origins    *access.Origins
	appOrigins *access.AppOrigins
	refused    *access.RefusedOrigins
	live       *live.Feeds
	failed     *access.Failures
	arrived    *arrivals
	faults     *faults
	docs       docsPlace
	logger     *zap.Logger
}

const publishMethods = "POST, OPTIONS"

// ServeHTTP answers a publish or its preflight.
func (e publishEndpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	authenticated := false
	subscribers, err := e.serve(w, r, &authenticated)
	if err == nil {
		e.trace(r, subscribers, nil)
		return
	}
	logFailed(&e.faults.publish, e.logger, "publish failed", r, err)
	refusal := e.docs.explain(apierr.As(err))
	if refusal.Status == http.StatusUnauthorized {
		rate := e.settings.AuthFailures
		e.failed.Hold(r.Context(), site.ClientIP(r), rate.Count, time.Duration(rate.Window))
	}
	e.tellRefused(r, refusal, authenticated)
	e.trace(r, subscribers, refusal)
	e.discard(w, r)
	site.Refuse(w, r, refusal)
}

// tellRefused counts a refusal and reports it to the live views of the app that
// the request claims to belong to.
func (e publishEndpoint) tellRefused(r *http.Request, refusal *apierr.Error, authenticated bool) {
	app := r.Header.Get("X-App-Id")
	e.publisher.Refused(app, refusal)
	if !e.live.Watched(app) {
		return
	}
	e.live.Tell(app, live.Event{
		Kind: live.Refused, Attempt: "publish", ClientIP: site.ClientIP(r), Code: refusal.Code, Cure: refusal.Message,
		Unauthenticated: !authenticated,
	})
}

// serve returns how many subscribers the request's messages are queued for. It sets
// authenticated once the request has presented a key of the app.
func (e publishEndpoint) serve(w http.ResponseWriter, r *http.Request, authenticated *bool) (subscribers int, err error) {
	if err := e.checkOrigin(w, r); err != nil {
		return 0, err
	}
	if r.Method == http.MethodOptions {
		site.BoundBody(w, r, time.Duration(e.settings.BodyTimeout))
	}
	switch {
	case access.IsPreflight(r):
		access.AnswerPublishPreflight(w)
		return 0, nil
	case r.Method == http.MethodOptions:
		w.Header().Set("Allow", publishMethods)
		w.WriteHeader(http.StatusNoContent)
		return 0, nil
	case r.Method != http.MethodPost:
		return 0, apierr.MethodNotAllowed(r.Method, publishMethods)
	case access.IsEarly(r):
		return 0, apierr.TooEarly()
	}
	if err := access.CheckBodyType(r); err != nil {
		return 0, err
	}
	app, err := e.authenticate(r)
	if err != nil {
		return 0, err
	}
	*authenticated = true
	key, err := idempotencyKey(r)
	if err != nil {
		return 0, err
	}
	body := bodies.Get().(*bytes.Buffer)
	defer recycle(body)
	arriving := arrival{all: e.arrived, app: app.ID}
	defer arriving.end()
	if err := e.readBody(w, r, body, e.settings.maxBody(app), &arriving); err != nil {
		return 0, err
	}
	received := time.Now()
	batch, err := message.Decode(body.Bytes())
	if err != nil {
		return 0, err
	}
	if batch.Several == nil {
		batch.One.Received = received
	}
	for i := range batch.Several {
		batch.Several[i].Received = received
	}
	if key.Value != "" {
		key.Body = idempotent.DigestOf(body.Bytes())
	}
	answer, subscribers, err := e.publish(r.Context(), w.Header(), app, batch, key)
	if err != nil {
		return 0, err
	}
	message.WriteAnswer(w, answer)
	return subscribers, nil
}

// publish publishes a batch, once for each key. It returns the body of the answer, whose
// headers it sets in h, and how many subscribers the messages were queued for now.
func (e publishEndpoint) publish(ctx context.Context, h http.Header, app *keystore.App, batch message.Batch, key hub.IdempotencyKey) (answer []byte, subscribers int, err error) {
	var outcome hub.Outcome
	if batch.Several == nil {
		var receipt message.Receipt
		if receipt, outcome, err = e.publisher.publish(ctx, app, batch.One, key); err == nil {
			answer, subscribers = receipt.Answer(make([]byte, 0, 128)), receipt.Subscribers
		}
	} else {
		var receipts []message.Receipt
		if receipts, outcome, err = e.publisher.publishAll(ctx, app, batch.Several, key); err == nil {
			answer = message.AnswerAll(nil, receipts)
		}
		for _, receipt := range receipts {
			subscribers += receipt.Subscribers
		}
	}
	respond.SetRateLimit(h, outcome.Rate)
	if outcome.Replayed {
		h["Idempotent-Replayed"] = []string{"true"}
		subscribers = 0
	}
	return answer, subscribers, err
}

// checkOrigin rejects pages from origins that the site does not list, and lets the
// others read every answer from here on.
func (e publishEndpoint) checkOrigin(w http.ResponseWriter, r *http.Request) error {
	if !e.origins.Allows(r) {
		e.refused.Log(e.logger, e.origins, r)
		return access.SiteOriginError(r)
	}
	if _, err := access.OnlyHeader(r, "Origin"); err != nil { // an app's list would check only the first
		return err
	}
	e.origins.SetCORS(w.Header(), r)
	if len(r.Header["Origin"]) > 0 {
		w.Header().Set("Access-Control-Expose-Headers", "RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After, Idempotent-Replayed")
	}
	return nil
}

// authenticate returns the app whose key the request carries, after checking the
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
	if !key.Has(keystore.ScopePublish) {
		return nil, apierr.NoScope(keystore.ScopePublish)
	}
	e.registry.Used(app, key, now)
	return app, e.appOrigins.Check(app, r)
}

// readBody reads the whole body within its limits of size and time. A large body
// must acquire memory from arriving first.
func (e publishEndpoint) readBody(w http.ResponseWriter, r *http.Request, body *bytes.Buffer, maxBody int64, arriving *arrival) error {
	if r.ContentLength > maxBody {
		return apierr.PayloadTooLarge(maxBody, strconv.FormatInt(r.ContentLength, 10))
	}
	// A declared length is only a claim: trust it no further than is cheap.
	body.Grow(int(min(max(r.ContentLength, 0), maxPooledBody-bytes.MinRead)) + bytes.MinRead)

	conn := http.NewResponseController(w)
	// A writer without deadlines leaves the server's timeouts in force.
	_ = conn.SetReadDeadline(time.Now().Add(time.Duration(e.settings.BodyTimeout)))
	n, err := body.ReadFrom(io.LimitReader(r.Body, min(maxBody+1, maxSmallBody)))
	if err == nil && n == maxSmallBody {
		size := r.ContentLength
		if size < 0 {
			size = maxBody
		}
		if !arriving.take(size) {
			return apierr.Unavailable("Too many large publishes of this app are arriving at once. Send fewer at a time, or smaller ones.", time.Second)
		}
		body.Grow(int(max(size-n, 0)) + bytes.MinRead)
		var rest int64
		rest, err = body.ReadFrom(io.LimitReader(r.Body, maxBody+1-n))
		n += rest
	}
	if err != nil {
		// The deadline stays: the server may keep reading before it answers.
		site.CloseAfter(w, r)
		return e.bodyError(n, err)
	}
	if n > maxBody {
		return apierr.PayloadTooLarge(maxBody, "more than "+strconv.FormatInt(maxBody, 10))
	}
	_ = conn.SetReadDeadline(time.Time{})
	return nil
}

// maxSmallBody is the largest body that does not count as arriving.
const maxSmallBody = maxPooledBody - bytes.MinRead

// maxDiscard bounds how much of a rejected body is read.
const maxDiscard = 8 << 20

// discard reads the rest of a rejected body, within the body timeout. It does
// not if the body is far too large or broke off, or if the client waits for a
// 100 Continue. A client that is still sending when the connection closes
// never reads the reason, and net/http does close it if a proxy has asked for that.
func (e publishEndpoint) discard(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor != 1 || w.Header().Get("Connection") == "close" {
		return
	}
	site.BoundBody(w, r, time.Duration(e.settings.BodyTimeout))
	if r.ContentLength <= maxDiscard && r.Header.Get("Expect") == "" {
		n, err := io.Copy(io.Discard, io.LimitReader(r.Body, maxDiscard))
		if err == nil && n < maxDiscard {
			_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
			return
		}
	}
	site.CloseAfter(w, r)
}

// bodyError explains why reading a body failed after n bytes.
func (e publishEndpoint) bodyError(n int64, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return apierr.InvalidRequest("The body did not arrive completely within %s, only %d bytes of it. Send it faster, or a smaller one.",
			text.ShortDuration(time.Duration(e.settings.BodyTimeout)), n)
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok { // Caddy's own request_body limit
		return apierr.PayloadTooLarge(tooLarge.Limit, "more than "+strconv.FormatInt(tooLarge.Limit, 10))
	}
	return apierr.InvalidRequest("The body broke off after %d bytes. Send as many as its Content-Length says, or end its last chunk.", n)
}

// maxPooledBody bounds the buffers in the pool, so that a large publish does not
// occupy memory forever.
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
