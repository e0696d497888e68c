package token_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/token"
)

// BenchmarkVerify verifies a token, beside what the standard library takes to verify
// its signature alone.
func BenchmarkVerify(b *testing.B) {
	payload := `{"sub":"42","iat":` + strconv.FormatInt(now.Unix(), 10) + `,"exp":` + strconv.FormatInt(now.Unix()+3600, 10) +
		`,"channels":["private-user.42","presence-room.*"],"info":{"name":"Ann"}}`
	for _, algorithm := range algorithms() {
		s := newSigner(b, algorithm)
		app := newApp(s)
		raw := s.sign(b, `{"alg":"`+string(algorithm)+`","typ":"JWT","kid":"`+s.ID+`"}`, payload)
		b.Run(string(algorithm), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := token.Verify(app, raw, now); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(string(algorithm)+"-signature-alone", func(b *testing.B) {
			dot := strings.LastIndexByte(raw, '.')
			text := []byte(raw[:dot])
			signature, err := base64.RawURLEncoding.DecodeString(raw[dot+1:])
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if !signatureAlone(&s.Key, text, signature) {
					b.Fatal("the signature is not valid")
				}
			}
		})
	}
}

func signatureAlone(key *keystore.Key, text, signature []byte) bool {
	if public, ok := key.Public().(ed25519.PublicKey); ok {
		return ed25519.Verify(public, text, signature)
	}
	hash := sha256.Sum256(text)
	switch public := key.Public().(type) {
	case *ecdsa.PublicKey:
		return ecdsa.Verify(public, hash[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(public, crypto.SHA256, hash[:], signature) == nil
	}
	mac := hmac.New(sha256.New, key.Verifier)
	mac.Write(text)
	return hmac.Equal(mac.Sum(nil), signature)
}
