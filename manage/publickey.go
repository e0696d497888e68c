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
		return nil, apierr.InvalidRequest("public_key cannot be used: %s.", strings.TrimPrefix(err.Error(), keystore.ErrPublicKey.Error()+": "))
	}
	return public, nil
}

// PublicKeyJSON returns PEM or a JWK, as people paste it, in the form that requests
// have.
func PublicKeyJSON(pasted []byte) (json.RawMessage, error) {
	if pasted = bytes.TrimSpace(pasted); json.Valid(pasted) {
		return pasted, nil
	}
	return text.JSON(string(pasted))
}

// ReadPublicKey reads PEM or a JWK, as people paste it. It returns nil for nothing.
func ReadPublicKey(pasted string) (crypto.PublicKey, error) {
	if strings.TrimSpace(pasted) == "" {
		return nil, nil
	}
	raw, err := PublicKeyJSON([]byte(pasted))
	if err == nil {
		err = CheckPublicKey(raw)
	}
	if err != nil {
		return nil, err
	}
	return publicKeyOf(raw)
}

// CheckPublicKey returns an error that says why a key in a request cannot verify
// tokens, or nil. A key is JSON: a string with PEM, or a JWK.
func CheckPublicKey(raw json.RawMessage) error {
	public, err := publicKeyOf(raw)
	if err == nil && public == nil {
		err = apierr.InvalidRequest("public_key is null. Send PEM as a string, or a JWK as an object.")
	}
	return err
}

const (
	makeAnother = "public_key is a private key, which must not leave the backend that signs. Make another pair, and send its public half."
	omitKey     = "public_key is a secret, not a public key. Omit public_key: the gateway then makes a secret for HS256. Do not use the one that you sent for anything else."
	useOther    = "Use Ed25519, P-256 or RSA"
)

func fromPEM(s string) (crypto.PublicKey, error) {
	block, rest := pem.Decode([]byte(s))
	switch {
	case strings.Contains(s, "PRIVATE KEY-----"): // in any block, also one that cannot be read
		return nil, apierr.InvalidRequest(makeAnother)
	case block == nil && strings.HasPrefix(strings.TrimSpace(s), "{"):
		return nil, apierr.InvalidRequest("public_key is JSON in a string. Send a JWK as an object, without quotes around it.")
	case block == nil:
		return nil, apierr.InvalidRequest("public_key is not PEM. It begins with -----BEGIN PUBLIC KEY-----, on a line of its own.")
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, apierr.InvalidRequest("public_key has more than one PEM block, or text after it. Send one block and nothing else.")
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
		return nil, apierr.InvalidRequest("public_key cannot be read: %s. %s.", err, useOther)
	}
	return public, nil
}

// fromJWK reads a public key (RFC 7517). Its kid is not used: a key's id is made
// here. Its alg must be the algorithm that the key pins.
func fromJWK(raw json.RawMessage) (crypto.PublicKey, error) {
	var is struct {
		Kty  any             `json:"kty"`
		D    json.RawMessage `json:"d"` // of a private key, of any type (RFC 7518, section 6)
		Keys json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(raw, &is); err != nil {
		return nil, apierr.InvalidRequest("public_key is not a JWK: %s.", err)
	}
	switch {
	case is.D != nil:
		return nil, apierr.InvalidRequest(makeAnother)
	case is.Kty == "oct":
		return nil, apierr.InvalidRequest(omitKey)
	case is.Kty == nil && is.Keys != nil:
		return nil, apierr.InvalidRequest("public_key is a JWK set. Send one of its keys: the object with kty.")
	}
	var key jose.JSONWebKey
	if err := key.UnmarshalJSON(raw); err != nil {
		return nil, apierr.InvalidRequest("public_key is not a JWK: %s. %s.", strings.TrimPrefix(err.Error(), "go-jose/go-jose: "), useOther)
	}
	if key.Use != "" && key.Use != "sig" {
		return nil, apierr.InvalidRequest("public_key is a JWK for the use %s. Send one for signatures: \"use\":\"sig\".", text.Quote(key.Use))
	}
	if algorithm, err := keystore.AlgorithmOf(key.Key); err == nil && key.Algorithm != "" && key.Algorithm != string(algorithm) {
		return nil, apierr.InvalidRequest("public_key is a JWK for the algorithm %s. Tokens of such a key must be signed with %s: "+
			"sign with that, and omit alg.", text.Quote(key.Algorithm), algorithm)
	}
	return key.Key, nil
}
