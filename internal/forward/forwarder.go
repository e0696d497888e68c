package forward

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

const (
	// maxForwards bounds the requests that are forwarded at a time. Each takes a
	// connection and some 50 KB.
	maxForwards = 10_000

	// dialTimeout bounds how long another machine may take to accept a connection.
	dialTimeout = 2 * time.Second

	// endTimeout bounds the wait for a poll that another machine is asked to end.
	endTimeout = 2 * time.Second

	// endPause is the time between two such requests.
	endPause = 50 * time.Millisecond

	// idleTimeout is how long an idle connection to another machine is kept. It
	// must be less than the other's IdleTimeout.
	idleTimeout = 30 * time.Second

	// maxLoggers bounds the machines whose log lines are limited separately.
	maxLoggers = 1000
)

// IdleTimeout is how long a server with a Receiver must keep idle connections.
const IdleTimeout = 4 * idleTimeout

// Forwarder forwards requests. All its methods may be called concurrently.
type Forwarder struct {
	secret    func(context.Context) ([]byte, error)
	timeout   func() time.Duration
	log       *zap.Logger
	transport *http.Transport
	proxy     httputil.ReverseProxy
	inFlight  atomic.Int64
	stats     Stats

	mu      sync.Mutex               // guards loggers
	loggers map[string]*rate.Limiter // one log line a second for each machine
}

// Stats counts requests of sessions that other machines have.
type Stats struct {
	// Forwarded counts those that the other machine has answered.
	Forwarded atomic.Uint64

	// Failed counts those that it has not.
	Failed atomic.Uint64

	// Busy counts those that were refused because too many were in flight.
	Busy atomic.Uint64
}

// A target is where a request goes. It is in the request's context.
type target struct {
	machine   string
	address   *url.URL
	query     string
	signature string
	exchange  engineio.Exchange
	client    context.Context // ends when the client has gone
	body      *clientBody
}

// A clientBody is the body of a client's request.
type clientBody struct {
	io.ReadCloser
	failed atomic.Bool // it has not arrived
}

func (b *clientBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.failed.Store(true)
	}
	return n, err
}

type targetKey struct{}

func targetOf(ctx context.Context) *target { return ctx.Value(targetKey{}).(*target) }

// New returns a Forwarder. secret returns what only the machines of the cluster know, and
// timeout how long one write to a client may take. Close releases its connections.
func New(secret func(context.Context) ([]byte, error), timeout func() time.Duration, log *zap.Logger) *Forwarder {
	f := &Forwarder{secret: secret, timeout: timeout, log: log, loggers: make(map[string]*rate.Limiter)}
	dialer := &net.Dialer{
		Timeout: dialTimeout,
		// A poll is silent for ping_interval; a machine without power is for ever.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 5 * time.Second, Count: 3},
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	f.transport = &http.Transport{
		DialContext:         dialer.DialContext,
		Protocols:           protocols,
		DisableCompression:  true,
		MaxConnsPerHost:     maxForwards,
		MaxIdleConns:        maxForwards,
		MaxIdleConnsPerHost: maxForwards / 10,
		IdleConnTimeout:     idleTimeout,
	}
	f.proxy = httputil.ReverseProxy{
		Rewrite:        rewrite,
		Transport:      f.transport,
		FlushInterval:  -1,
		ErrorLog:       zap.NewStdLog(zap.NewNop()), // fail has the errors; others are of clients that have gone
		ModifyResponse: f.answered,
		ErrorHandler:   f.fail,
	}
	return f
}

// Stats returns the forwarder's counters.
func (f *Forwarder) Stats() *Stats { return &f.stats }

// InFlight returns how many requests are being forwarded.
func (f *Forwarder) InFlight() int { return int(f.inFlight.Load()) }

// Close closes idle connections.
func (f *Forwarder) Close() { f.transport.CloseIdleConnections() }

// Forward answers a request for a session with the answer of the machine that has it.
// It returns once the answer is written; for a websocket, once that has ended. If the
// machine cannot be reached, the client is told to reconnect.
func (f *Forwarder) Forward(w http.ResponseWriter, r *http.Request, machine string, address *url.URL, x engineio.Exchange) {
	if f.inFlight.Add(1) > maxForwards {
		f.inFlight.Add(-1)
		f.stats.Busy.Add(1)
		engineio.RefuseBusy(w)
		return
	}
	defer f.inFlight.Add(-1)
	client := &clientWriter{ResponseWriter: w, timeout: f.timeout()}
	defer client.end()
	secret, err := f.secret(r.Context())
	if err != nil {
		f.failed(machine, address, err)
		engineio.RefuseUnknownSession(client)
		return
	}
	query := needed(r.URL.Query())
	uri := "/?" + query
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	t := &target{machine: machine, address: address, query: query, signature: sign(secret, machine, r.Method, uri), exchange: x, client: r.Context(), body: &clientBody{ReadCloser: r.Body}}
	if isPoll(r) && x.Ending != nil {
		answered := make(chan struct{})
		var waiting sync.WaitGroup
		waiting.Go(func() { f.endPoll(ctx, cancel, answered, t, sign(secret, machine, methodEnd, uri)) })
		defer waiting.Wait()
		defer close(answered)
	}
	r = r.WithContext(context.WithValue(ctx, targetKey{}, t))
	if r.ContentLength != 0 {
		r.Body = t.body
	}
	f.proxy.ServeHTTP(client, r)
}

func isPoll(r *http.Request) bool {
	return r.Method == http.MethodGet && r.URL.Query().Get("transport") == "polling"
}

// needed returns the part of a query that Engine.IO reads.
func needed(query url.Values) string {
	kept := url.Values{}
	for _, name := range []string{"EIO", "transport", "sid", "j", "t"} {
		if query.Has(name) {
			kept.Set(name, query.Get(name))
		}
	}
	return kept.Encode()
}

// endPoll has the other machine answer a poll when this HTTP server is about to stop.
// If the other does not, the client has to reconnect.
func (f *Forwarder) endPoll(ctx context.Context, giveUp func(), answered <-chan struct{}, t *target, signature string) {
	select {
	case <-answered:
		return
	case <-ctx.Done():
		return
	case <-t.exchange.Ending:
	}
	limited, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	// The poll may not have arrived yet, so ask more than once.
	for f.askToEnd(limited, t, signature) == nil {
		pause := time.NewTimer(endPause)
		select {
		case <-answered:
			pause.Stop()
			return
		case <-pause.C:
		}
	}
	giveUp()
}

func (f *Forwarder) askToEnd(ctx context.Context, t *target, signature string) error {
	to := url.URL{Scheme: t.address.Scheme, Host: t.address.Host, Path: "/", RawQuery: t.query}
	r, err := http.NewRequestWithContext(ctx, methodEnd, to.String(), http.NoBody)
	if err != nil {
		return err
	}
	r.Header.Set(signatureHeader, signature)
	response, err := f.transport.RoundTrip(r)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// passed are the headers that Engine.IO reads. The others, such as cookies, stay here.
var passed = []string{"Content-Type", "Sec-Websocket-Key", "Sec-Websocket-Version", "Sec-Websocket-Protocol"}

// rewrite addresses a request to the other machine.
func rewrite(p *httputil.ProxyRequest) {
	t := targetOf(p.In.Context())
	upgrade := p.Out.Header["Upgrade"] // ReverseProxy adds it for a websocket
	p.Out.Header = http.Header{signatureHeader: {t.signature}, "User-Agent": {""}}
	if upgrade != nil {
		p.Out.Header["Upgrade"], p.Out.Header["Connection"] = upgrade, []string{"Upgrade"}
	}
	for _, name := range passed {
		if values := p.In.Header[name]; values != nil {
			p.Out.Header[name] = values
		}
	}
	p.Out.URL = &url.URL{Scheme: t.address.Scheme, Host: t.address.Host, Path: "/", RawQuery: t.query}
	p.Out.Host = t.address.Host
}

var errRefused = errors.New("another process or machine answers at this address; give each machine a node_address of its own, and the same Redis and prefix. " +
	"If the machine was killed, it is known for 15 seconds more")

// answered checks that an answer is from Engine.IO, and waits while answers are on hold.
func (f *Forwarder) answered(response *http.Response) error {
	t := targetOf(response.Request.Context())
	if response.StatusCode == http.StatusForbidden || response.StatusCode == http.StatusNotFound {
		return errRefused // Engine.IO has no such answers
	}
	f.stats.Forwarded.Add(1)
	if response.StatusCode != http.StatusSwitchingProtocols {
		t.exchange.Wait(t.client)
	}
	response.Header.Del("Date") // this server has its own
	return nil
}

// fail answers a request that the other machine has not answered.
func (f *Forwarder) fail(w http.ResponseWriter, r *http.Request, err error) {
	t := targetOf(r.Context())
	if t.client.Err() != nil || t.body.failed.Load() { // the client's fault
		engineio.RefuseUnknownSession(w)
		return
	}
	f.failed(t.machine, t.address, err)
	engineio.RefuseUnknownSession(w)
}

func (f *Forwarder) failed(machine string, address *url.URL, err error) {
	f.stats.Failed.Add(1)
	if f.mayLog(machine) {
		f.log.Warn("a request could not be forwarded to the machine that has its session; the client has to reconnect",
			zap.String("machine", machine), zap.String("node_address", address.String()), zap.Error(err))
	}
}

// mayLog allows one line a second for each machine.
func (f *Forwarder) mayLog(machine string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	limiter, ok := f.loggers[machine]
	if !ok {
		if len(f.loggers) >= maxLoggers {
			clear(f.loggers)
		}
		limiter = rate.NewLimiter(1, 1)
		f.loggers[machine] = limiter
	}
	return limiter.Allow()
}
