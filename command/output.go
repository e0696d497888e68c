package command

import (
	"errors"
	"io"

	"github.com/spf13/cobra"
)

// maxErrorText bounds a printed error, in bytes: a server may have written it.
const maxErrorText = 4 << 10

// guardOutput makes a command's output safe for a terminal. Commands print
// texts from servers; this is where they leave the process.
func guardOutput(cmd *cobra.Command) {
	cmd.SetOut(visibleWriter{cmd.OutOrStdout()})
	cmd.SetErr(visibleWriter{cmd.ErrOrStderr()})
}

// guardError does the same for the error that a command returns.
func guardError(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if len(text) > maxErrorText {
		text = text[:maxErrorText] + "…"
	}
	return errors.New(visible(text))
}

// A visibleWriter writes visible text, and keeps line breaks and tabs: a value
// that must not contain those either has to go through visible first. Each
// Write takes whole characters.
type visibleWriter struct{ to io.Writer }

func (w visibleWriter) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.to, escape(string(p), "\n\t")); err != nil {
		return 0, err
	}
	return len(p), nil
}
