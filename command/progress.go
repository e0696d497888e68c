package command

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// A progress shows how far a command is, in one line of a terminal that it
// overwrites. Without a terminal it only prints notes.
type progress struct {
	terminal io.Writer // nil if there is none
	notes    io.Writer
	shown    time.Time // zero if the line is empty
}

// newProgress returns the progress for a command's standard error.
func newProgress(stderr io.Writer) *progress {
	p := &progress{notes: stderr}
	to := stderr
	if guarded, ok := to.(visibleWriter); ok { // which would escape the carriage return
		to = guarded.to
	}
	if file, ok := to.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		p.terminal = file
	}
	return p
}

// progressInterval is the shortest time between two states of the line.
const progressInterval = 100 * time.Millisecond

// show replaces the line, unless it has just changed.
func (p *progress) show(format string, a ...any) {
	if p.terminal == nil || time.Since(p.shown) < progressInterval {
		return
	}
	p.shown = time.Now()
	_, _ = fmt.Fprintf(p.terminal, "\r\x1b[K%s", visible(fmt.Sprintf(format, a...))) // there is nowhere else to report an error
}

// clear removes the line.
func (p *progress) clear() {
	if !p.shown.IsZero() {
		p.shown = time.Time{}
		_, _ = fmt.Fprint(p.terminal, "\r\x1b[K")
	}
}

// note prints a line that stays.
func (p *progress) note(format string, a ...any) {
	p.clear()
	note(p.notes, format, a...)
}
