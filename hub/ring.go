package hub

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"
)

// A ring is the history of one channel, guarded by the channel's mu. It has few
// pointers, whatever it keeps, for the garbage collector's sake.
type ring[P any] struct {
	// floor is the offset after which everything published to the channel is in
	// the ring, except messages that are never kept.
	floor uint64

	whole bool // floor is exact, whatever the hub has seen of other channels

	era uint32 // the stream's era that this belongs to

	all   []kept // in order of offsets; those before start were removed
	start int
	texts chunks
	size  int // of the texts, in bytes

	// replayed are the payloads that were made lately, by offset.
	replayed map[uint64]P

	// Guarded by the history's mu.
	place int // in byAge, from 1; 0 if the ring is empty
	since age // of the oldest message, or of one that was before it
}

// A kept is a message in a history.
type kept struct {
	offset    uint64
	at, until time.Duration // since the hub's start; it is not in the history from until on
	place     span
}

// entries returns the messages, until the ring changes.
func (r *ring[P]) entries() []kept { return r.all[r.start:] }

func (r *ring[P]) len() int { return len(r.all) - r.start }

// add adds a message. Where some were removed, the ring does not grow for it.
func (r *ring[P]) add(k kept, except string, text []byte) {
	k.place = r.texts.add(r.size, except, text)
	r.size += k.place.len()
	if len(r.all) == cap(r.all) && r.start > 0 && 8*r.start >= cap(r.all) {
		r.all, r.start = append(r.all[:0], r.entries()...), 0
	}
	r.all = append(r.all, k)
}

// remove removes the n oldest messages.
func (r *ring[P]) remove(n int) {
	for _, k := range r.entries()[:n] {
		r.size -= k.place.len()
		r.floor = k.offset
		if r.replayed != nil {
			delete(r.replayed, k.offset)
		}
	}
	r.start += n
	if r.len() == 0 {
		r.all, r.start, r.texts, r.replayed = nil, 0, chunks{}, nil
		return
	}
	r.texts.drop(r.all[r.start].place.chunk)
	if 4*r.len() < cap(r.all) {
		r.all, r.start = slices.Clone(r.entries()), 0
	}
}

// text returns a message's text, which stays valid.
func (r *ring[P]) text(k kept) []byte {
	_, text := r.texts.get(k.place)
	return text
}

// except returns the ID of the subscriber that does not get a message, or "".
func (r *ring[P]) except(k kept) string {
	except, _ := r.texts.get(k.place)
	return string(except)
}

// after returns the messages after an offset.
func (r *ring[P]) after(offset uint64) []kept {
	i, _ := r.search(offset + 1)
	return r.entries()[i:]
}

// at returns the message with that offset.
func (r *ring[P]) at(offset uint64) (k kept, ok bool) {
	i, ok := r.search(offset)
	if !ok {
		return k, false
	}
	return r.entries()[i], true
}

func (r *ring[P]) search(offset uint64) (int, bool) {
	return slices.BinarySearchFunc(r.entries(), offset, func(k kept, offset uint64) int {
		return cmp.Compare(k.offset, offset)
	})
}

// chunks are texts, back to back in pieces of memory that are never changed once
// they are written, so that the oldest can be freed without copying the others.
type chunks struct {
	all   [][]byte
	first uint32 // the number of the first
}

// A span is the place of a text, with the subscriber that does not get it.
type span struct{ chunk, start, end uint32 }

func (s span) len() int { return int(s.end - s.start) }

// maxChunk bounds a chunk of several texts, in bytes.
const maxChunk = 64 << 10

// add adds a text to others of that size. A chunk has room for as many such texts
// as fit in a quarter of that.
func (c *chunks) add(size int, except string, text []byte) span {
	need := binary.MaxVarintLen16 + len(except) + len(text)
	last := len(c.all) - 1
	if last < 0 || cap(c.all[last])-len(c.all[last]) < need {
		last++
		c.all = append(c.all, slices.Grow[[]byte](nil, need*max(1, min(size/4, maxChunk)/need)))
	}
	b := c.all[last]
	s := span{chunk: c.first + uint32(last), start: uint32(len(b))}
	b = binary.AppendUvarint(b, uint64(len(except)))
	b = append(append(b, except...), text...)
	s.end = uint32(len(b))
	c.all[last] = b
	return s
}

// get returns a text, and who does not get it.
func (c *chunks) get(s span) (except, text []byte) {
	b := c.all[s.chunk-c.first][s.start:s.end:s.end]
	n, size := binary.Uvarint(b)
	return b[size : size+int(n)], b[size+int(n):]
}

// drop drops the chunks before that one.
func (c *chunks) drop(before uint32) {
	if n := int(before - c.first); n > 0 {
		c.all = slices.Delete(c.all, 0, n)
		c.first = before
	}
}
