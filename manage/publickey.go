package manage

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/jsonscan"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// publicKeyOf reads a public key for tokens: PEM as a string, or a JWK as an
// object. null is none.
func publicKeyOf(raw json.RawMessage) (crypto.PublicKey, error) {
	if jsonscan.IsNull(raw) {
		return nil, nil
	}
	var public crypto.PublicKey
	var err error
	switch raw[0] {
	case '"':
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return nil, apierr.InvalidRequest("public_key is not valid Unicode.")
		}
		public, err = fromPEM(s)
	case '{':
		public, err = fromJWK(raw)
	default:
		err = apierr.InvalidRequest("public_key is %s. Send PEM as a string, or a JWK as an object.", jsonscan.Kind(raw[0]))
	}
	if err != nil {
		return nil, err
	}
	if _, err := keystore.AlgorithmOf(public); err != nil {
		return nil, apierr.InvalidRequest("public_key is of no use: %s.", strings.TrimPrefix(err.Error(), keystore.ErrPublicKey.Error()+": "))
	}
	return public, nil
}

const makeAnother = "public_key is a private key, which must not leave the backend that signs. Make another pair, and send its public half."

func fromPEM(s string) (crypto.PublicKey, error) {
	block, rest := pem.Decode([]byte(s))
	switch {
	case block == nil:
		return nil, apierr.InvalidRequest("public_key is not PEM. It begins with -----BEGIN PUBLIC KEY-----, on a line of its own.")
	case strings.Contains(block.Type, "PRIVATE"):
		return nil, apierr.InvalidRequest(makeAnother)
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, apierr.InvalidRequest("public_key has more than one PEM block. Send one.")
	}
	var public crypto.PublicKey
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		public, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		public, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		return nil, apierr.InvalidRequest("public_key is a certificate. Send its key alone: openssl x509 -pubkey -noout -in cert.pem")
	default:
		return nil, apierr.InvalidRequest("public_key is PEM of the type %s. Its type must be PUBLIC KEY.", text.Quote(block.Type))
	}
	if err != nil {
		return nil, apierr.InvalidRequest("public_key cannot be read: %s.", err)
	}
	return public, nil
}

func fromJWK(raw json.RawMessage) (crypto.PublicKey, error) {
	var key jose.JSONWebKey
	if err := key.UnmarshalJSON(raw); err != nil {
		return nil, apierr.InvalidRequest("public_key is not a JWK: %s.", strings.TrimPrefix(err.Error(), "go-jose/go-jose: "))
	}
	if _, symmetric := key.Key.([]byte); !symmetric && !key.IsPublic() {
		return nil, apierr.InvalidRequest(makeAnother)
	}
	return key.Key, nil
}
