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
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/token"
)

// BenchmarkVerify verifies a token and, in turns, only its signature with the standard
// library, so that a noisy machine slows both. It reports medians, and the difference:
// at most 20 µs are allowed for HS256, and 10 µs over the signature for others.
func BenchmarkVerify(b *testing.B) {
	payload := `{"sub":"42","iat":` + strconv.FormatInt(now.Unix(), 10) + `,"exp":` + strconv.FormatInt(now.Unix()+3600, 10) +
		`,"channels":["private-user.42","presence-room.*"],"info":{"name":"Ann"}}`
	for _, algorithm := range algorithms() {
		s := newSigner(b, algorithm)
		app := newApp(s)
		raw := s.sign(b, `{"alg":"`+string(algorithm)+`","typ":"JWT","kid":"`+s.ID+`"}`, payload)
		dot := strings.LastIndexByte(raw, '.')
		text := []byte(raw[:dot])
		signature, err := base64.RawURLEncoding.DecodeString(raw[dot+1:])
		if err != nil {
			b.Fatal(err)
		}
		b.Run(string(algorithm), func(b *testing.B) {
			var verify, alone []time.Duration
			b.ReportAllocs()
			for b.Loop() {
				began := time.Now()
				if _, err := token.Verify(app, raw, now); err != nil {
					b.Fatal(err)
				}
				verified := time.Now()
				if !signatureAlone(&s.Key, text, signature) {
					b.Fatal("the signature is not valid")
				}
				verify, alone = append(verify, verified.Sub(began)), append(alone, time.Since(verified))
			}
			v, a := median(verify), median(alone)
			b.ReportMetric(v, "verify-µs")
			b.ReportMetric(a, "signature-µs")
			b.ReportMetric(v-a, "over-µs")
			b.ReportMetric(0, "ns/op") // of both together
		})
	}
}

// median returns the median in microseconds.
func median(all []time.Duration) float64 {
	slices.Sort(all)
	return float64(all[len(all)/2].Nanoseconds()) / 1000
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
