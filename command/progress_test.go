package command

import (
	"strings"
	"testing"
	"time"
)

func TestProgressIsOneLineThatNotesDoNotRunInto(t *testing.T) {
	var terminal strings.Builder
	p := &progress{terminal: &terminal, notes: &terminal}
	p.show("%d lines of \u009b2J", 1)
	p.show("2 lines") // too soon after the first
	p.note("a note")
	p.show("3 lines")
	p.shown = time.Now().Add(-time.Second)
	p.show("4 lines")
	p.clear()
	p.clear()
	want := "\r\x1b[K1 lines of \\u009b2J" + "\r\x1b[Ka note\n" + "\r\x1b[K3 lines" + "\r\x1b[K4 lines" + "\r\x1b[K"
	if terminal.String() != want {
		t.Errorf("got %q, want %q", terminal.String(), want)
	}
}
