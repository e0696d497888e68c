package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"
)

// maxAnswer is how much of an answer's body is read, in bytes, so that its
// connection can be used again. What it says does not matter.
const maxAnswer = 4 << 10

// maxText is the length of the longest reason of a failure, in bytes.
const maxText = 300

// newClient returns the client for all hooks. It uses no proxy: the address that
// guard checks must be that of the receiver.
func (m *Manager) newClient(resolver *net.Resolver) *http.Client {
	dialer := &net.Dialer{Timeout: m.timing.Answer, ControlContext: m.guard, Resolver: resolver}
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    m.timing.Answer,
			DisableCompression:     true,
			MaxIdleConns:           256,
			MaxIdleConnsPerHost:    4,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
			HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: m.timing.Answer},
		},
	}
}

// An answer is the outcome of a request.
type answer struct {
	status     int           // 0 if there was no answer
	text       string        // why it failed, in words
	retryAfter time.Duration // what the receiver asked for, or 0
	began      time.Time
	took       time.Duration
	stopped    bool // the request was cancelled, which says nothing of the receiver
}

func (a *answer) received() bool { return a.status/100 == 2 }
func (a *answer) gone() bool     { return a.status == http.StatusGone }

// post makes one request.
func (m *Manager) post(ctx context.Context, hook *Hook, id string, body []byte) (a answer) {
	a.began = time.Now()
	limited, cancel := context.WithTimeout(ctx, m.timing.Answer)
	defer cancel()
	defer func() { a.took = time.Since(a.began) }()
	request, err := http.NewRequestWithContext(limited, http.MethodPost, hook.URL, bytes.NewReader(body))
	if err != nil {
		a.text = m.explain(err)
		return a
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "caddy-realtime")
	request.Header.Set("Webhook-Id", id)
	request.Header.Set("Webhook-Timestamp", strconv.FormatInt(a.began.Unix(), 10))
	request.Header.Set("Webhook-Signature", signature(hook.Secrets, id, a.began, body))
	response, err := m.client.Do(request)
	if err != nil {
		a.stopped = ctx.Err() != nil
		a.text = m.explain(err)
		return a
	}
	defer response.Body.Close()
	_, _ = io.CopyN(io.Discard, response.Body, maxAnswer)
	a.status = response.StatusCode
	if a.received() {
		return a
	}
	a.retryAfter = retryAfter(response.Header.Get("Retry-After"), time.Now())
	a.text = fmt.Sprintf("the receiver answered %d %s", a.status, http.StatusText(a.status))
	if a.status/100 == 3 {
		a.text += "; redirects are not followed, so set the hook to the URL that the receiver redirects to"
	}
	return a
}

// retryAfter reads the header Retry-After, which has seconds or a date.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(header, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// explain says in words why there was no answer. The URL is left out: some have a
// secret in their path.
func (m *Manager) explain(err error) string {
	var (
		address *AddressError
		name    *net.DNSError
		failed  *url.Error
		unknown x509.UnknownAuthorityError
		invalid *tls.CertificateVerificationError
		plain   tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &address):
		return address.Error()
	case errors.As(err, &name) && name.IsNotFound:
		return fmt.Sprintf("the host %s was not found", name.Name)
	case errors.As(err, &unknown):
		return "the receiver's certificate is of no authority that the gateway's system trusts; if it is of a private one, add that to the system's"
	case errors.As(err, &invalid):
		return cut("the receiver's certificate is refused: " + invalid.Err.Error())
	case errors.As(err, &plain), errors.Is(err, http.ErrSchemeMismatch):
		return "the receiver does not answer with HTTPS on that port"
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("no answer within %s", m.timing.Answer)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the receiver's host refuses connections to that port"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return "the receiver closed the connection without an answer"
	}
	if errors.As(err, &failed) {
		err = failed.Err
	}
	return cut(err.Error())
}

func cut(text string) string { return text[:min(len(text), maxText)] }
