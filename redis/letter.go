package redis

import (
	"encoding/binary"
	"errors"
	"time"
)

// A letter is what machines send each other: the version, the kind, and the fields.
type letter struct {
	kind     byte
	id       uint64        // of the question, as numbered by the machine that asks
	from     string        // the machine that sends it
	question string        // its name; empty in all other letters
	timeout  time.Duration // how long the answer is waited for
	body     []byte        // of the question or the answer; or the text of an error
}

const (
	letterVersion = 1

	// Kinds of letters.
	letterNews      = 'n' // the list of machines has changed
	letterQuestion  = 'q'
	letterAnswer    = 'a'
	letterError     = 'e' // an answer
	letterWithdrawn = 'w' // nobody waits for the answer any longer
)

var errLetter = errors.New("a message between machines has another format than this version's; all machines need the same version of the gateway")

func (l *letter) encode() string {
	b := make([]byte, 0, 2+4*binary.MaxVarintLen64+len(l.from)+len(l.question)+len(l.body))
	b = append(b, letterVersion, l.kind)
	b = binary.AppendUvarint(b, l.id)
	for _, text := range []string{l.from, l.question} {
		b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
	}
	b = binary.AppendUvarint(b, uint64(max(0, l.timeout)))
	return string(append(b, l.body...))
}

func readLetter(text string) (*letter, error) {
	if len(text) < 2 || text[0] != letterVersion {
		return nil, errLetter
	}
	l := &letter{kind: text[1]}
	rest := []byte(text[2:])
	number := func() (n uint64) {
		n, size := binary.Uvarint(rest)
		if size <= 0 {
			rest = nil
			return 0
		}
		rest = rest[size:]
		return n
	}
	l.id = number()
	for _, field := range []*string{&l.from, &l.question} {
		n := number()
		if n > uint64(len(rest)) {
			return nil, errLetter
		}
		*field, rest = string(rest[:n]), rest[n:]
	}
	if len(rest) == 0 { // the last number has at least one byte
		return nil, errLetter
	}
	l.timeout = time.Duration(number())
	l.body = rest
	return l, nil
}
