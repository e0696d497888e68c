// Package whsec makes and reads the secrets of webhooks, as Standard Webhooks writes
// them.
//
// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
package whsec

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
)

const (
	prefix = "whsec_"

	// Size is the length of a secret that New makes, in bytes.
	Size = 32
)

// New returns a new secret, and the text to show to the receiver.
func New() (secret []byte, text string) {
	secret = make([]byte, Size)
	_, _ = rand.Read(secret) // never fails, see crypto/rand
	return secret, Format(secret)
}

// Format returns the text of a secret, for example whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw.
func Format(secret []byte) string {
	return prefix + base64.StdEncoding.EncodeToString(secret)
}

// Parse is the reverse of Format. The specification allows secrets of
// 24 to 64 bytes. The errors do not contain the text.
func Parse(text string) ([]byte, error) {
	const least, most = 24, 64
	encoded, found := strings.CutPrefix(text, prefix)
	if !found {
		return nil, errors.New("a secret that does not begin with whsec_")
	}
	secret, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || strings.ContainsAny(encoded, "\r\n") || len(secret) < least || len(secret) > most {
		return nil, errors.New("a webhook secret is whsec_ and 24 to 64 bytes in base64, as made by: printf whsec_; head -c 32 /dev/urandom | base64")
	}
	return secret, nil
}
