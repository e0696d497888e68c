package token_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// hs256 signs with any secret.
func hs256(header, payload string, secret []byte) string {
	text := encode(header) + "." + encode(payload)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(text))
	return text + "." + encode(string(mac.Sum(nil)))
}

func TestAnUnsignedTokenIsRefused(t *testing.T) {
	for _, algorithm := range algorithms() {
		s := newSigner(t, algorithm)
		app := newApp(s)
		for _, alg := range []string{"none", "None", "NONE", "nOnE"} {
			unsigned := encode(`{"alg":"`+alg+`"}`) + "." + encode(in("")) + "."
			refused(t, app, unsigned, "invalid_token", "The token is not signed")
			refused(t, app, unsigned+encode("signature"), "invalid_token", "The token is not signed")
			refused(t, app, s.sign(t, `{"alg":"`+alg+`"}`, in("")), "invalid_token", "The token is not signed")
		}
		for _, header := range []string{`{"alg":"` + string(algorithm) + `"}`, `{"alg":"` + string(algorithm) + `","kid":"` + s.ID + `"}`} {
			refused(t, app, encode(header)+"."+encode(in(""))+".", "invalid_token", "no signature")
			refused(t, app, encode(header)+"."+encode(in(""))+"."+encode("\x00"), "invalid_token", "signature")
		}
	}
}

// TestAPublicKeyIsNoSecret signs with HS256 and what everybody knows of a key.
func TestAPublicKeyIsNoSecret(t *testing.T) {
	for _, algorithm := range []keystore.Algorithm{keystore.EdDSA, keystore.ES256, keystore.RS256} {
		s, secret := newSigner(t, algorithm), newSigner(t, keystore.HS256)
		raw, err := (&jose.JSONWebKey{Key: s.Public(), KeyID: s.ID}).MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		encoded := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: s.Verifier})
		known := [][]byte{s.Verifier, encoded, []byte(strings.TrimSpace(string(encoded))), raw, s.Hash, []byte(s.ID), {}}
		switch public := s.Public().(type) {
		case ed25519.PublicKey:
			known = append(known, public)
		case *ecdsa.PublicKey:
			point, err := public.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			known = append(known, point)
		case *rsa.PublicKey:
			known = append(known, public.N.Bytes(), x509.MarshalPKCS1PublicKey(public))
		}
		for _, key := range known {
			named := hs256(`{"alg":"HS256","kid":"`+s.ID+`"}`, in(""), key)
			unnamed := hs256(`{"alg":"HS256"}`, in(""), key)
			refused(t, newApp(s), named, "invalid_token", "alg is HS256", "is for "+string(algorithm))
			refused(t, newApp(s), unnamed, "invalid_token", "alg is HS256", "is for "+string(algorithm))
			refused(t, newApp(s, secret), named, "invalid_token", "alg is HS256")
			refused(t, newApp(s, secret), unnamed, "invalid_token", "signature")
		}
	}
}

// TestTheKeyDeterminesTheAlgorithm signs with each key, and claims each algorithm.
func TestTheKeyDeterminesTheAlgorithm(t *testing.T) {
	claimed := []string{"HS384", "HS512", "RS384", "RS512", "PS256", "ES384", "ES256K", "Ed25519", "hs256", "HS256 ", "", "A128KW", "ML-DSA-44"}
	for _, algorithm := range algorithms() {
		claimed = append(claimed, string(algorithm))
	}
	for _, algorithm := range algorithms() {
		s := newSigner(t, algorithm)
		for _, alg := range claimed {
			if alg == string(algorithm) {
				continue
			}
			for _, kid := range []string{"", `,"kid":"` + s.ID + `"`} {
				refused(t, newApp(s), s.sign(t, `{"alg":"`+alg+`"`+kid+`}`, in("")), "invalid_token", "alg")
			}
		}
	}
	two := newApp(newSigner(t, keystore.HS256), newSigner(t, keystore.EdDSA))
	refused(t, two, newSigner(t, keystore.ES256).token(t, in("")), "invalid_token", "alg is ES256", "none of the app's signing keys is for that")
}

// TestATokenBringsNoKey sends the key that verifies a token in its header.
func TestATokenBringsNoKey(t *testing.T) {
	for _, algorithm := range []keystore.Algorithm{keystore.EdDSA, keystore.ES256, keystore.RS256} {
		own, thief := newSigner(t, algorithm), newSigner(t, algorithm)
		jwk, err := (&jose.JSONWebKey{Key: thief.Public(), KeyID: own.ID}).MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{
			"jwk": string(jwk), "jku": `"https://thief.example/keys"`, "x5u": `"https://thief.example/certificate"`, "x5c": `["MII="]`,
		} {
			for _, kid := range []string{"", `,"kid":"` + own.ID + `"`} {
				refused(t, newApp(own), thief.sign(t, `{"alg":"`+string(algorithm)+`"`+kid+`,"`+name+`":`+value+`}`, in("")), "invalid_token", "header has "+name, "kid")
			}
		}
	}
	s := newSigner(t, keystore.HS256)
	for _, header := range []string{`"jwk":{"kty":"oct","k":"AAAA"}`, `"jwk":null`, `"\u006awk":{}`} {
		refused(t, newApp(s), hs256(`{"alg":"HS256",`+header+`}`, in(""), []byte{0, 0, 0}), "invalid_token", "header has jwk")
	}
}

func TestExtensionsOfTheHeaderAreRefused(t *testing.T) {
	s := newSigner(t, keystore.HS256)
	for name, header := range map[string]string{
		"crit": `"crit":["exp"]`, "b64": `"b64":false`, "zip": `"zip":"DEF"`, "enc": `"enc":"A256GCM"`,
	} {
		refused(t, newApp(s), s.sign(t, `{"alg":"HS256",`+header+`}`, in("")), "invalid_token", "header has "+name)
	}
	refused(t, newApp(s), s.sign(t, `{"alg":"HS256","crit":[]}`, in("")), "invalid_token", "header has crit")
	refused(t, newApp(s), s.sign(t, `{"alg":"HS256","b64":false,"crit":["b64"]}`, in("")), "invalid_token", "header has")
	verify(t, newApp(s), s.sign(t, `{"alg":"HS256","typ":"at+jwt","cty":"x","x5t":"x","other":{"a":[1]}}`, in("")))
}

func TestAnUnknownKidIsRefused(t *testing.T) {
	s, other := newSigner(t, keystore.HS256), newSigner(t, keystore.HS256)
	app := newApp(s)
	publish, _ := keystore.NewKey(keystore.Publish, "")
	app.Keys = append(app.Keys, publish)
	for _, kid := range []string{"", other.ID, "../../etc/passwd", "' OR 1=1 --", "0", s.ID + " ", strings.ToUpper(s.ID), strings.Repeat("k", 400), s.ID + "\u0000", "\u202e"} {
		quoted, err := json.Marshal(kid)
		if err != nil {
			t.Fatal(err)
		}
		refused(t, app, s.sign(t, `{"alg":"HS256","kid":`+string(quoted)+`}`, in("")), "invalid_token", "The app has no key with the id", "kid")
	}
	refused(t, app, s.sign(t, `{"alg":"HS256","kid":"`+publish.ID+`"}`, in("")), "invalid_token", "is the id of a publish key")
	for literal, kind := range map[string]string{"42": "a number", "null": "null", "[]": "an array", "{}": "an object"} {
		refused(t, app, s.sign(t, `{"alg":"HS256","kid":`+literal+`}`, in("")), "invalid_token", "kid is "+kind)
	}
	refused(t, app, s.sign(t, `{"alg":"HS256","kid":"`+string(s.Verifier)+`"}`, in("")), "invalid_token", "sign_live_…")
}

func TestTheKeyOfAnotherAppVerifiesNothing(t *testing.T) {
	for _, algorithm := range []keystore.Algorithm{keystore.HS256, keystore.EdDSA, keystore.ES256} {
		mine, others := newSigner(t, algorithm), newSigner(t, algorithm)
		cure := "private key that belongs to"
		if algorithm == keystore.HS256 {
			cure = "as text, not decoded"
		}
		refused(t, newApp(mine), others.token(t, in("")), "invalid_token", "signature is not of the app's signing key", cure)
		refused(t, newApp(mine), others.sign(t, `{"alg":"`+string(algorithm)+`","kid":"`+others.ID+`"}`, in("")), "invalid_token", "The app has no key with the id")
		refused(t, newApp(mine), others.sign(t, `{"alg":"`+string(algorithm)+`","kid":"`+mine.ID+`"}`, in("")), "invalid_token", "signature is not of the signing key "+mine.ID)
	}
}

// TestAChangedTokenIsRefused changes each bit of a token's claims and signature.
func TestAChangedTokenIsRefused(t *testing.T) {
	s := newSigner(t, keystore.HS256)
	app := newApp(s)
	raw := []byte(s.token(t, `{"exp":1800000060,"sub":"42"}`))
	verify(t, app, string(raw))
	for i := range raw {
		for bit := range 8 {
			changed := append([]byte(nil), raw...)
			changed[i] ^= 1 << bit
			refused(t, app, string(changed), "invalid_token")
		}
		refused(t, app, string(raw[:i]), "invalid_token")
	}
}

func TestAnExpiryIsOnlyToldToThoseWithASignature(t *testing.T) {
	s, other := newSigner(t, keystore.HS256), newSigner(t, keystore.HS256)
	expired := `{"exp":1,"sub":"42"}`
	app := newApp(s)
	refused(t, app, s.token(t, expired), "token_expired")
	refused(t, app, other.token(t, expired), "invalid_token", "signature")
}

// TestATokenHasOneSpelling refuses what lenient decoders of base64 take for the
// same token, so that a token that is known under one text has no other.
func TestATokenHasOneSpelling(t *testing.T) {
	s := newSigner(t, keystore.HS256)
	app := newApp(s)
	raw := s.token(t, in(""))
	parts := strings.Split(raw, ".")
	for i, part := range parts {
		for _, other := range []string{part + "=", part + "==", part + "\n", "\r\n" + part, part[:2] + "\n" + part[2:], " " + part, part + "\x00", part + "%", "“" + part} {
			spelled := append([]string(nil), parts...)
			spelled[i] = other
			refused(t, app, strings.Join(spelled, "."), "invalid_token", "is not base64url")
		}
	}
	refused(t, app, "Bearer "+raw, "invalid_token", "The token's header is not base64url", "without Bearer")
	refused(t, app, `"`+raw+`"`, "invalid_token", "quotes")

	// A signature of 32 bytes has two unused bits, one of 64 bytes has four.
	for algorithm, combinations := range map[keystore.Algorithm]int{keystore.HS256: 4, keystore.EdDSA: 16} {
		s := newSigner(t, algorithm)
		raw := s.token(t, in(""))
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		text, last := raw[:len(raw)-1], strings.IndexByte(alphabet, raw[len(raw)-1])
		signature := raw[strings.LastIndexByte(raw, '.')+1:]
		for unused := 1; unused < combinations; unused++ {
			other := text + string(alphabet[last+unused])
			if same, err := base64.RawURLEncoding.DecodeString(other[len(other)-len(signature):]); err != nil || encode(string(same)) != signature {
				t.Fatal("it is not the same signature:", err)
			}
			refused(t, newApp(s), other, "invalid_token", "The token's signature is not base64url")
		}
	}
}

func TestWhatIsNoTokenIsRefused(t *testing.T) {
	s := newSigner(t, keystore.HS256)
	app := newApp(s)
	publish, secret := keystore.NewKey(keystore.Publish, "")
	app.Keys = append(app.Keys, publish)
	for raw, words := range map[string]string{
		"": "is empty", "undefined": "three parts", "a.b": "three parts", "a.b.c.d": "three parts", "a.b.c.d.e": "encrypted (JWE)", "..": "header is not JSON",
		string(s.Verifier): "This is a signing key, not a token", secret: "This is a publish key, not a token", "[object Object]": "three parts", "a.b.c": "base64url",
		"null": "three parts", strings.Repeat(".", 8192): "three parts", "\xff\xfe": "three parts", "\x00.\x00.\x00": "base64url",
		`{"payload":"e30","protected":"e30","signature":"e30"}`: "three parts",
	} {
		refused(t, app, raw, "invalid_token", words)
	}
}

func TestATokenHasAtMost8KiB(t *testing.T) {
	s := newSigner(t, keystore.HS256)
	app := newApp(s)
	padded := func(pad int) string { return s.token(t, in(`"x":"`+strings.Repeat("a", pad)+`"`)) }
	pad := (8192 - len(padded(0))) * 3 / 4
	for len(padded(pad)) < 8192 {
		pad++
	}
	if n := len(padded(pad)); n != 8192 {
		t.Fatal("it has", n)
	}
	verify(t, app, padded(pad))
	for _, more := range []int{1, 2, 3, 1000, 1 << 20} {
		refused(t, app, padded(pad+more), "invalid_token", "at most 8192 are allowed")
	}
	refused(t, app, strings.Repeat("a.", 5<<10), "invalid_token", "at most 8192")
}

func TestDuplicatesAreRefused(t *testing.T) {
	s := newSigner(t, keystore.HS256)
	app := newApp(s)
	for _, claims := range []string{
		`"sub":"1","sub":"2"`, `"sub":"1","sub":"1"`, `"sub":"1","s\u0075b":"2"`, `"exp":1900000000`, `"x":1,"x":1`, `"info":null,"info":{}`,
		`"channels":["a"],"channels":["*"]`, `"\u0065xp":1`,
	} {
		refused(t, app, s.token(t, in(claims)), "invalid_token", "The token's payload has", "twice")
	}
	for _, header := range []string{
		`{"alg":"none","alg":"HS256"}`, `{"alg":"HS256","alg":"none"}`, `{"alg":"HS256","\u0061lg":"HS256"}`, `{"alg":"HS256","typ":"JWT","typ":"JWT"}`,
		`{"alg":"HS256","kid":"x","kid":"` + s.ID + `"}`, `{"alg":"HS256","kid":"` + s.ID + `","kid":"` + s.ID + `"}`,
	} {
		refused(t, app, s.sign(t, header, in("")), "invalid_token", "The token's header has", "twice")
	}
	verify(t, app, s.token(t, in(`"Sub":1,"SUB":2,"Exp":"x","CHANNELS":3`))) // other claims
}

func TestAPayloadIsOneJSONObjectInUTF8(t *testing.T) {
	s := newSigner(t, keystore.HS256)
	app := newApp(s)
	for payload, words := range map[string]string{
		"": "is not JSON", "x": "is not JSON", `{"exp":1`: "is not JSON", "{}{}": "is not JSON", "\ufeff{}": "is not JSON", `{"exp":NaN}`: "is not JSON", `{"exp":Infinity}`: "is not JSON",
		`{"exp":01}`: "is not JSON", `{'exp':1}`: "is not JSON", "null": "is null", "[]": "is an array", `"{}"`: "is a string", "1": "is a number", "true": "is a boolean",
		"{\"sub\":\"\xff\"}": "is not UTF-8", "{\"\xc0\xaf\":1}": "is not UTF-8", "{\"sub\":\"\xed\xa0\x80\"}": "is not UTF-8",
		strings.Repeat("[", 500): "is not JSON", `{"a":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `,"b":}`: "is not JSON",
	} {
		refused(t, app, s.token(t, payload), "invalid_token", "The token's payload "+words)
		refused(t, app, s.sign(t, payload, in("")), "invalid_token", "The token's header "+words)
	}
	verify(t, app, s.token(t, " \t\r\n"+in(`"a":`+strings.Repeat("[", 2900)+strings.Repeat("]", 2900)+`,"b":1e999,"":0`)+"\n"))
	refused(t, app, s.sign(t, `{}`, in("")), "invalid_token", "has no alg")
	for literal, kind := range map[string]string{"null": "null", "1": "a number", `["HS256"]`: "an array"} {
		refused(t, app, s.sign(t, `{"alg":`+literal+`}`, in("")), "invalid_token", "alg is "+kind)
	}
	for _, header := range []string{`"x":1e999`, `"nonce":1`} { // JSON that the library does not take
		refused(t, app, s.sign(t, `{"alg":"HS256",`+header+`}`, in("")), "invalid_token", "The token's header cannot be read")
	}
	verify(t, app, s.sign(t, `{"alg":"HS256","x":`+strings.Repeat("[", 200)+strings.Repeat("]", 200)+`}`, in("")))
}

// TestALongHeaderIsNotRead bounds what a token costs whose signature is wrong.
func TestALongHeaderIsNotRead(t *testing.T) {
	s := newSigner(t, keystore.HS256)
	app := newApp(s)
	verify(t, app, s.sign(t, `{"alg":"HS256","x":"`+strings.Repeat("a", 512-22)+`"}`, in("")))
	for _, value := range []string{`"` + strings.Repeat("a", 513-22) + `"`, strings.Repeat("[", 2900) + strings.Repeat("]", 2900), `"` + strings.Repeat("\xff", 2900) + `"`, strings.Repeat("{", 5000)} {
		refused(t, app, s.sign(t, `{"alg":"HS256","x":`+value+`}`, in("")), "invalid_token", "The token's header has ", "at most 512")
	}
}

func TestASignatureInASN1SaysSo(t *testing.T) {
	s := newSigner(t, keystore.ES256)
	text := encode(`{"alg":"ES256"}`) + "." + encode(in(""))
	hash := sha256.Sum256([]byte(text))
	private, ok := s.private.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatalf("%T", s.private)
	}
	der, err := ecdsa.SignASN1(rand.Reader, private, hash[:])
	if err != nil {
		t.Fatal(err)
	}
	refused(t, newApp(s), text+"."+encode(string(der)), "invalid_token", "bytes; those of ES256 have 64", "ASN.1")
	refused(t, newApp(s), text+"."+encode(strings.Repeat("\x00", 64)), "invalid_token", "signature is not of")
	refused(t, newApp(s), text+"."+encode(strings.Repeat("\x00", 64)+"a"), "invalid_token", "65 bytes")
}

func TestAStoredKeyVerifies(t *testing.T) {
	for _, algorithm := range algorithms() {
		s := newSigner(t, algorithm)
		app := newApp(s)
		record, err := keystore.Encode(app)
		if err != nil {
			t.Fatal(err)
		}
		if app, err = keystore.Decode(app.ID, record); err != nil {
			t.Fatal(err)
		}
		verify(t, app, s.token(t, in("")))
	}
}
