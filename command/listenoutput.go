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

// printLine prints an event as its name and data. There is always a tab, so
// that "cut -f 2" is the data.
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

// printJSON prints an event as one JSON object, with the time of its arrival.
func printJSON(out io.Writer) func(client.Event) error {
	return func(e client.Event) error {
		line, err := text.JSON(struct {
			Event string          `json:"event"`
			Data  json.RawMessage `json:"data,omitempty"`
			Time  time.Time       `json:"time"`
		}{e.Name, e.Data, time.Now().UTC()})
		if err != nil {
			return err
		}
		return writeLine(out, line)
	}
}

// maxPiece is how much of a line is escaped and written at a time, in bytes.
// Escaped, text can be six times as long.
const maxPiece = 64 << 10

// writeLine writes columns as visible text, with tabs between them. A short
// line is one write.
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

// wholeRunes returns how many of the first bytes of text, at most limit, cut no
// character in two.
func wholeRunes(text []byte, limit int) int {
	if len(text) <= limit {
		return len(text)
	}
	for n := limit; n > limit-utf8.UTFMax; n-- {
		if utf8.RuneStart(text[n]) {
			return n
		}
	}
	return limit // it is not UTF-8
}

// visible writes characters that a terminal would act on, or that reorder what
// is seen, as JSON's escapes. In JSON they can only stand in strings, so its
// meaning stays.
func visible(text string) string { return escape(text, "") }

// escape is visible, and keeps some characters as they are.
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
		if acts(r) { // all of them have four digits
			b.WriteString(`\u`)
			b.Write([]byte{hex[r>>12], hex[r>>8&0xf], hex[r>>4&0xf], hex[r&0xf]})
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func actsOnTerminal(r rune) bool {
	if ' ' <= r && r <= '~' { // most are
		return false
	}
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
}
