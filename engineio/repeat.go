package engineio

import (
	"hash/fnv"
	"strings"
)

// stampOf returns a hash of the t with which clients make the URL of each request
// unique, or 0 if this one has none that tells polls apart: some clients send the time
// in seconds.
//
// A load balancer, Go's HTTP client and browsers send a GET again, with the same URL, if
// its connection breaks before they have the answer. The packets of that answer may be
// lost. To answer the repetition with later ones would hide that.
func stampOf(t string) uint64 {
	if len(t) < 4 || len(t) > 64 || !strings.ContainsFunc(t, isLetter) {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(t)) // never fails
	return h.Sum64()
}

func isLetter(r rune) bool { return 'a' <= r|0x20 && r|0x20 <= 'z' }
