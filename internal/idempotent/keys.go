// Package idempotent remembers the answers to requests that carry an idempotency
// key, so that a repeated request is answered and not carried out again.
package idempotent

import (
	"crypto/sha256"
	"errors"
	"time"
)

// Lifetime is how long a key is remembered after its request was answered.
const Lifetime = 5 * time.Minute

// MaxKeys is how many answered keys of an app are remembered. Beyond that, the
// oldest are forgotten.
const MaxKeys = 100_000

var (
	// ErrInProgress means that a request with the same key is in progress.
	ErrInProgress = errors.New("a request with this key is in progress")

	// ErrMismatch means that the key belongs to another body.
	ErrMismatch = errors.New("the key was used with another body")
)

// A Request is a request that carries a key. Requests with the same app, key and
// body are the same.
type Request struct {
	App, Key string
	Body     Digest
}

// A Digest identifies a body.
type Digest [sha256.Size]byte

// DigestOf returns a body's digest.
func DigestOf(body []byte) Digest { return sha256.Sum256(body) }

// A Claim is the right to carry out a request.
type Claim struct {
	Request Request

	// Token distinguishes the claim from others to the same key.
	Token uint64
}
