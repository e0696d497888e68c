package command

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/seed-c079cc48/caddy-realtime/internal/client"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
)

// printLine prints an event's name and data. It always prints a tab, so that
// "cut -f 2" returns the data.
func printLine(out io.Writer) func(client.Event) error {
	return func(e client.Event) error {
		var data bytes.Buffer
		if e.Data != nil {
			if err := json.Compact(&data, e.Data); err != nil {
				return err
			}
		}
		return writeLine(out, []byte(e.Name), data.Bytes())
	}
}

// printJSON prints an event as one JSON object, with its time of arrival.
func printJSON(out io.Writer) func(client.Event) error {
	return func(e client.Event) error {
		line, err := text.JSON(struct {
			ID    string          `json:"id,omitempty"`
			Event string          `json:"event"`
			Data  json.RawMessage `json:"data,omitempty"`
			Time  time.Time       `json:"time"`
		}{e.ID, e.Name, e.Data, time.Now().UTC()})
		if err != nil {
			return err
		}
		return writeLine(out, line)
	}
}

// maxPiece is how much of a line is escaped and written at a time, in bytes.
// Escaping can make it six times as long.
const maxPiece = 64 << 10

// writeLine writes columns as visible text, separated by tabs. A short line
// takes one write.
func writeLine(out io.Writer, columns ...[]byte) error {
	var line bytes.Buffer
	for i, text := range columns {
		if i > 0 {
			line.WriteByte('\t')
		}
		for len(text) > 0 {
			n := wholeRunes(text, maxPiece)
			line.WriteString(visible(string(text[:n])))
			text = text[n:]
			if line.Len() >= maxPiece {
				if _, err := line.WriteTo(out); err != nil {
					return err
				}
			}
		}
	}
	line.WriteByte('\n')
	_, err := line.WriteTo(out)
	return err
}

// wholeRunes returns the length of the longest prefix of text, at most limit
// bytes, that does not split a character.
func wholeRunes(text []byte, limit int) int {
	if len(text) <= limit {
		return len(text)
	}
	for n := limit; n > limit-utf8.UTFMax; n-- {
		if utf8.RuneStart(text[n]) {
			return n
		}
	}
	return limit // not UTF-8
}

// visible escapes characters that a terminal acts on, or that reorder the
// displayed text, as JSON does. In JSON they can only occur in strings, so its
// meaning does not change.
func visible(text string) string { return escape(text, "") }

// escape is visible, but keeps some characters unchanged.
func escape(text, keep string) string {
	acts := func(r rune) bool { return actsOnTerminal(r) && !strings.ContainsRune(keep, r) }
	text = strings.ToValidUTF8(text, "\ufffd")
	if strings.IndexFunc(text, acts) < 0 {
		return text
	}
	const hex = "0123456789abcdef"
	var b strings.Builder
	b.Grow(len(text))
	for _, r := range text {
		if acts(r) { // four hex digits suffice for all of them
			b.WriteString(`\u`)
			b.Write([]byte{hex[r>>12], hex[r>>8&0xf], hex[r>>4&0xf], hex[r&0xf]})
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func actsOnTerminal(r rune) bool {
	if ' ' <= r && r <= '~' { // the common case
		return false
	}
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
}
