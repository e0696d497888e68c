package hub

import (
	"errors"
	"strconv"
	"strings"
)

// A record is what is kept with an idempotency key: the epoch, the first offset, and
// each message's number of subscribers, for example "K3…A 17 2,0". The offsets of
// messages that are published together have no gaps.

func recordOf(all []*Message) string {
	first := all[0].Position
	b := append(make([]byte, 0, 32+2*len(all)), first.Epoch...)
	b = strconv.AppendUint(append(b, ' '), first.Offset, 10)
	return string(AppendCounts(append(b, ' '), all))
}

// AppendCounts appends the last part of a record, for brokers that know the position
// only later.
func AppendCounts(b []byte, all []*Message) []byte {
	for i, m := range all {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(m.Subscribers), 10)
	}
	return b
}

var errRecord = errors.New("what is kept with an idempotency key does not belong to these messages")

// Replay sets the Position and Subscribers of messages to those in a record.
func Replay(record string, all []*Message) error {
	epoch, rest, _ := strings.Cut(record, " ")
	first, counts, _ := strings.Cut(rest, " ")
	offset, err := strconv.ParseUint(first, 10, 64)
	if err != nil || strings.Count(counts, ",")+1 != len(all) {
		return errRecord
	}
	for i, m := range all {
		var count string
		count, counts, _ = strings.Cut(counts, ",")
		n, err := strconv.Atoi(count)
		if err != nil {
			return errRecord
		}
		m.Position, m.Subscribers = Position{epoch, offset + uint64(i)}, n
	}
	return nil
}
