package token

import (
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// header is the part of a token's header that matters here. Nothing in it is
// trusted: it only chooses among the app's keys.
type header struct {
	algorithm keystore.Algorithm
	key       string // kid
	hasKey    bool
}

// readHeader reads the header before the signature is verified.
func readHeader(encoded string) (*header, error) {
	raw, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return nil, err // split has checked it
	}
	if n := len(raw); n > maxHeader {
		return nil, apierr.InvalidToken("The token's header has %d bytes; at most %d are allowed. Put only alg, typ and kid into it.", n, maxHeader)
	}
	h := new(header)
	err = readObject("The token's header", raw, func(name string, value []byte) (err error) {
		switch name {
		case "alg":
			var algorithm string
			algorithm, err = stringOf("alg", value)
			h.algorithm = keystore.Algorithm(algorithm)
		case "kid":
			h.key, err = stringOf("kid", value)
			h.hasKey = true
		case "crit", "b64", "zip", "enc":
			return apierr.InvalidToken("The token's header has %s, an extension that is not supported. Leave it out.", name)
		case "jwk", "jku", "x5c", "x5u":
			return apierr.InvalidToken("The token's header has %s, a key of its own. Only the app's signing keys verify tokens: leave it out, and put the key's id into kid.", name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	switch h.algorithm {
	case keystore.HS256, keystore.EdDSA, keystore.ES256, keystore.RS256:
		return h, nil
	case "":
		return nil, apierr.InvalidToken("The token's header has no alg. Set it to %s, as the signing key requires.", algorithms)
	}
	if strings.EqualFold(string(h.algorithm), "none") {
		return nil, apierr.InvalidToken("The token is not signed: its alg is none. Sign it with one of the app's signing keys.")
	}
	return nil, apierr.InvalidToken("The token's alg is %s. Use %s, as the signing key requires.", text.Quote(string(h.algorithm)), algorithms)
}

const algorithms = "HS256, EdDSA, ES256 or RS256"

// candidates returns the keys that may have signed the token: the one that kid
// names, or all valid ones of the token's algorithm. The key, not the token,
// determines the algorithm: otherwise a public key would pass for the secret of
// HS256 (RFC 8725, section 3.1).
func (h *header) candidates(app *keystore.App, now time.Time) ([]*keystore.Key, error) {
	if !slices.ContainsFunc(app.Keys, func(k keystore.Key) bool { return k.Kind == keystore.Sign }) {
		return nil, apierr.InvalidToken("The app has no signing key, so no token is valid. Create one: %s.", addKey(app))
	}
	if h.hasKey {
		key, err := h.named(app, now)
		if err != nil {
			return nil, err
		}
		return []*keystore.Key{key}, nil
	}
	keys := app.SigningKeys(now)
	switch len(keys) {
	case 0:
		return nil, apierr.InvalidToken("All signing keys of the app are expired or revoked. Create one: %s.", addKey(app))
	case 1:
		if keys[0].Algorithm != h.algorithm {
			return nil, apierr.InvalidToken("The token's alg is %s, but the app's signing key is for %s. Sign with that.", h.algorithm, keys[0].Algorithm)
		}
		return keys, nil
	}
	keys = slices.DeleteFunc(keys, func(k *keystore.Key) bool { return k.Algorithm != h.algorithm })
	if len(keys) == 0 {
		return nil, apierr.InvalidToken("The token's alg is %s, and none of the app's signing keys is for that. Put the id of the key that signs into kid, and its algorithm into alg.", h.algorithm)
	}
	return keys, nil
}

// named returns the key that kid names, if it is valid and has the token's
// algorithm.
func (h *header) named(app *keystore.App, now time.Time) (*keystore.Key, error) {
	i := slices.IndexFunc(app.Keys, func(k keystore.Key) bool { return k.ID == h.key })
	if i < 0 {
		return nil, apierr.InvalidToken("The app has no key with the id %s, the token's kid. Set kid to the id of one of the app's signing keys; with a single one, kid can be left out.", text.Quote(h.key))
	}
	key := &app.Keys[i]
	switch {
	case key.Kind != keystore.Sign:
		return nil, apierr.InvalidToken("The token's kid, %s, is the id of a %s key. Set kid to the id of one of the app's signing keys.", key.ID, key.Kind)
	case !key.Revoked.IsZero():
		return nil, apierr.InvalidToken("The signing key %s was revoked. Sign with another one of the app, or create one: %s.", key.ID, addKey(app))
	case key.Check(now) != nil:
		return nil, apierr.InvalidToken("The signing key %s has expired. Sign with the one that replaced it, or create one: %s.", key.ID, addKey(app))
	case key.Algorithm != h.algorithm:
		return nil, apierr.InvalidToken("The token's alg is %s, but its signing key %s is for %s. Sign with that.", h.algorithm, key.ID, key.Algorithm)
	}
	return key, nil
}

func addKey(app *keystore.App) string { return "caddy realtime key add " + app.ID + " --kind sign" }
