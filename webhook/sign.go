package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"
)

// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

const (
	secretPrefix = "whsec_"
	secretSize   = 32 // bytes of a secret that NewSecret makes
)

// NewSecret returns a new secret, and the text to show to the receiver.
func NewSecret() (secret []byte, text string) {
	secret = make([]byte, secretSize)
	_, _ = rand.Read(secret) // never fails, see crypto/rand
	return secret, FormatSecret(secret)
}

// FormatSecret returns the text of a secret, for example whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw.
func FormatSecret(secret []byte) string {
	return secretPrefix + base64.StdEncoding.EncodeToString(secret)
}

// ParseSecret is the reverse of FormatSecret. The specification allows secrets of
// 24 to 64 bytes. The errors do not contain the text.
func ParseSecret(text string) ([]byte, error) {
	const least, most = 24, 64
	encoded, found := strings.CutPrefix(text, secretPrefix)
	if !found {
		return nil, errors.New("a webhook secret begins with whsec_")
	}
	secret, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || strings.ContainsAny(encoded, "\r\n") || len(secret) < least || len(secret) > most {
		return nil, errors.New("a webhook secret is whsec_ and 24 to 64 bytes in base64, as made by: printf whsec_; head -c 32 /dev/urandom | base64")
	}
	return secret, nil
}

// signature returns the value of the header webhook-signature, with a signature
// for each secret.
func signature(secrets [][]byte, id string, at time.Time, body []byte) string {
	signatures := make([]string, 0, len(secrets))
	for _, secret := range secrets {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
		mac.Write(body)
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return strings.Join(signatures, " ")
}
