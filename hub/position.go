package hub

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"strconv"
	"strings"
)

// A Position is a place among the messages of an app: that of the message with
// this offset, or the beginning if the offset is 0.
type Position struct {
	// Epoch is the run of offsets that Offset belongs to. An app gets a new one,
	// from NewEpoch, when offsets could be given again.
	Epoch string

	// Offset is a message's number in its app, from 1, without gaps.
	Offset uint64
}

// ID returns the position as clients see it, which is also the ID of its
// message.
func (p Position) ID() string {
	var id [64]byte
	return string(p.AppendID(id[:0]))
}

// AppendID appends the ID. It consists of letters, digits and a hyphen.
func (p Position) AppendID(b []byte) []byte {
	return strconv.AppendUint(append(append(b, p.Epoch...), '-'), p.Offset, 36)
}

// ParseID is the inverse of ID.
func ParseID(id string) (p Position, ok bool) {
	epoch, offset, found := strings.Cut(id, "-")
	if !found || len(epoch) != epochLength || len(offset) == 0 || len(offset) > 1 && offset[0] == '0' || strings.ToLower(offset) != offset {
		return p, false
	}
	n, err := strconv.ParseUint(offset, 36, 64)
	return Position{epoch, n}, err == nil
}

// An epoch is random, and ends in a mark of its app, so that the ID of another
// app's message is recognized.
const (
	epochLength = 16
	markLength  = 4
)

// NewEpoch returns a new epoch for an app. Brokers call it.
func NewEpoch(app string) string { return rand.Text()[:epochLength-markLength] + markOf(app) }

// isOf reports whether the position is one of the app's, of any epoch.
func (p Position) isOf(app string) bool { return strings.HasSuffix(p.Epoch, markOf(app)) }

func markOf(app string) string {
	sum := sha256.Sum256([]byte(app))
	return base32.StdEncoding.EncodeToString(sum[:])[:markLength]
}
