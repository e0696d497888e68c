package token

import (
	"encoding/base64"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// parts are a token and its three parts, in base64url.
type parts struct{ raw, header, payload, signature string }

// split returns the parts of a token. It accepts only their canonical spelling:
// decoders that skip line ends and unused bits would accept others of the same token.
func split(raw string) (p parts, err error) {
	switch n := strings.Count(raw, "."); {
	case raw == "":
		return p, apierr.InvalidToken("The token is empty. Send the JWT that your backend signed.")
	case len(raw) > MaxSize:
		return p, apierr.InvalidToken("The token has %d bytes; at most %d are allowed. Put less into it: a pattern like orders.* stands for many channels.", len(raw), MaxSize)
	case keystore.KindOf(raw) == keystore.Sign:
		return p, apierr.InvalidToken("This is a signing key, not a token. Sign a JWT with it on your backend, and rotate the key if it was sent to browsers.")
	case keystore.KindOf(raw) != "":
		return p, apierr.InvalidToken("This is a %s key, not a token. Send the JWT that your backend signed.", keystore.KindOf(raw))
	case n == 4:
		return p, apierr.InvalidToken("The token has five parts: it is encrypted (JWE). Send one that is only signed (JWS), which has three.")
	case n != 2:
		return p, apierr.InvalidToken("The token does not have three parts, separated by dots: it is cut off, or not a JWT. Send the whole token.")
	}
	p.raw = raw
	p.header, raw, _ = strings.Cut(raw, ".")
	p.payload, p.signature, _ = strings.Cut(raw, ".")
	for _, part := range [...]struct{ name, text string }{{"header", p.header}, {"payload", p.payload}, {"signature", p.signature}} {
		if !isBase64URL(part.text) {
			return p, apierr.InvalidToken("The token's %s is not base64url without padding. Send the token as it was signed, without Bearer, quotes and spaces.", part.name)
		}
	}
	return p, nil
}

// isBase64URL reports whether s is base64url without padding (RFC 7515, section 2),
// and its unused bits are 0.
func isBase64URL(s string) bool {
	var last byte // 6 bits
	for i := range len(s) {
		switch c := s[i]; {
		case 'A' <= c && c <= 'Z':
			last = c - 'A'
		case 'a' <= c && c <= 'z':
			last = c - 'a' + 26
		case '0' <= c && c <= '9':
			last = c - '0' + 52
		case c == '-':
			last = 62
		case c == '_':
			last = 63
		default:
			return false
		}
	}
	switch len(s) % 4 {
	case 1:
		return false
	case 2:
		return last&0x0f == 0
	case 3:
		return last&0x03 == 0
	}
	return true
}

// verify returns the first of the keys that signed the token, and the payload. All
// keys have the header's algorithm.
func (p *parts) verify(h *header, keys []*keystore.Key) (*keystore.Key, []byte, error) {
	if p.signature == "" {
		return nil, nil, apierr.InvalidToken("The token has no signature. Send the whole token, as your backend signed it.")
	}
	jws, err := jose.ParseSignedCompact(p.raw, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(h.algorithm)})
	if err != nil {
		return nil, nil, apierr.InvalidToken("The token's header cannot be read. Put only alg, typ and kid into it.")
	}
	for _, key := range keys {
		var verifier any = key.Public()
		if key.Algorithm == keystore.HS256 {
			verifier = key.Verifier
		}
		if payload, err := jws.Verify(verifier); err == nil {
			return key, payload, nil
		}
	}
	return nil, nil, p.errSignature(h, len(keys))
}

// errSignature returns the error for a token that none of n keys signed, with what
// usually causes it.
func (p *parts) errSignature(h *header, n int) error {
	if n := base64.RawURLEncoding.DecodedLen(len(p.signature)); h.algorithm == keystore.ES256 && n != 64 {
		return apierr.InvalidToken("The token's signature has %d bytes; those of ES256 have 64. Sign as JWTs do, with r and s of 32 bytes each, not in ASN.1 (DER).", n)
	}
	whose := "the app's signing key"
	switch {
	case h.hasKey:
		whose = "the signing key " + h.key // the id of one of the app's keys
	case n > 1:
		whose = "any of the app's signing keys for its algorithm"
	}
	cure := "Sign with the private key that belongs to the public key of the app."
	if h.algorithm == keystore.HS256 {
		cure = "Sign with the whole key (sign_live_…) as text, not decoded."
	}
	return apierr.InvalidToken("The token's signature is not of %s: another key signed it, or it was changed. %s", whose, cure)
}
