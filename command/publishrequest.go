package command

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/manage"
)

// publishTimeout bounds one request.
const publishTimeout = 30 * time.Second

// A publishSender sends publishes to a site.
type publishSender struct {
	site   siteAccount
	client *http.Client
}

func newPublishSender(site siteAccount) publishSender {
	return publishSender{site, &http.Client{
		Timeout: publishTimeout,
		// Go forwards the key to another port of the host, and from https to
		// http.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// A publishReceipt is the gateway's receipt for one message.
type publishReceipt struct {
	ID          string
	Subscribers int
}

// A publishAnswer is the gateway's answer to a publish that it accepted.
type publishAnswer struct {
	receipts []publishReceipt
	text     []byte // as received, JSON
}

// A publishFailure is the error of a publish without a receipt.
type publishFailure struct {
	error
	status int           // of the answer; 0 without one
	index  *int          // position of the wrong message, if the gateway named one
	again  bool          // repeating the request may help
	after  time.Duration // the answer's Retry-After; negative without one

	// published is whether the messages may have been published all the same.
	published bool
}

// send sends a body of one message, or of several. It succeeds only with the
// gateway's receipts for all of them: any other answer means that they are not
// published. key is the idempotency key, or "".
func (s publishSender) send(ctx context.Context, body []byte, key string, messages int) (publishAnswer, *publishFailure) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(s.site.origin, "/")+s.site.path, bytes.NewReader(body))
	if err != nil {
		return publishAnswer{}, &publishFailure{error: err}
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-App-Id", s.site.app)
	request.Header.Set("Authorization", "Bearer "+s.site.key)
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	answer, err := s.client.Do(request)
	if err != nil {
		return publishAnswer{}, s.unreached(err)
	}
	defer answer.Body.Close()
	return s.read(answer, messages)
}

// unreached returns the failure for a network error.
func (s publishSender) unreached(err error) *publishFailure {
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	_, plain := errors.AsType[tls.RecordHeaderError](err)
	name, unknown := errors.AsType[*net.DNSError](err)
	op, dial := errors.AsType[*net.OpError](err)
	return &publishFailure{
		error:     s.site.unreached(err),
		again:     !untrusted && !plain && (!unknown || !name.IsNotFound),
		after:     -1,
		published: !untrusted && !plain && (!dial || op.Op != "dial"),
	}
}

// read reads an answer.
func (s publishSender) read(answer *http.Response, messages int) (publishAnswer, *publishFailure) {
	if answer.StatusCode >= 300 && answer.StatusCode < 400 {
		return publishAnswer{}, &publishFailure{
			error: s.site.redirected(s.site.path, answer.Status, answer.Header.Get("Location")), status: answer.StatusCode,
		}
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, manage.MaxBody))
	if err != nil {
		return publishAnswer{}, s.unreached(err)
	}
	var body struct {
		publishReceipt
		Results []publishReceipt
		Error   struct {
			Code, Message string
			Index         *int
		}
	}
	valid := json.Unmarshal(text, &body) == nil
	failure := &publishFailure{status: answer.StatusCode, after: retryAfter(answer.Header)}
	if valid && body.Error.Code != "" && body.Error.Message != "" {
		failure.error, failure.index = errors.New(body.Error.Message), body.Error.Index
		switch answer.StatusCode {
		case http.StatusConflict, http.StatusTooManyRequests, http.StatusServiceUnavailable:
			failure.again = true
		}
		return publishAnswer{}, failure
	}
	receipts := body.Results
	if receipts == nil {
		receipts = []publishReceipt{body.publishReceipt}
	}
	if valid && areReceipts(receipts, messages) && answer.StatusCode >= 200 && answer.StatusCode <= 299 {
		return publishAnswer{receipts, text}, nil
	}
	switch answer.StatusCode { // a proxy's answer while the gateway restarts
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		failure.again = true
	}
	failure.published = true
	failure.error = fmt.Errorf("%s answers %s with %s, which is not an answer of this gateway: %s may not have been published. Check --origin and --path",
		answer.Request.URL, answer.Status, describeBody(answer.Header.Get("Content-Type"), text), count(messages, "event"))
	return publishAnswer{}, failure
}

// areReceipts reports whether there is a receipt for each message.
func areReceipts(receipts []publishReceipt, messages int) bool {
	for _, r := range receipts {
		if r.ID == "" {
			return false
		}
	}
	return len(receipts) == messages
}

// retryAfter returns the seconds of a Retry-After header, or a negative duration
// if there are none.
func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.ParseUint(h.Get("Retry-After"), 10, 31)
	if err != nil {
		return -1
	}
	return time.Duration(seconds) * time.Second
}

// describeBody describes an answer that is not a receipt.
func describeBody(contentType string, text []byte) string {
	switch {
	case len(text) == 0:
		return "an empty body"
	case json.Valid(text):
		return "JSON without an id"
	case contentType == "":
		return "a body that is not JSON"
	}
	return "a body of type " + contentType
}

// count returns a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "the " + noun
	}
	return fmt.Sprintf("the %d %ss", n, noun)
}
