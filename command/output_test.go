package command

import (
	"errors"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/seed-c079cc48/caddy-realtime/internal/commandtest"
)

func TestCommandsPrintNothingThatATerminalActsOn(t *testing.T) {
	const hostile = "a\x1b]0;owned\x07\u009b2J\u202e\x7f\rb"
	var out, notes strings.Builder
	cmd := new(cobra.Command)
	cmd.SetOut(&out)
	cmd.SetErr(&notes)
	guardOutput(cmd)
	cmd.Println(hostile)
	c := &adminClient{out: cmd.OutOrStdout(), notes: cmd.ErrOrStderr()}
	c.note("%s", hostile+"\nforged")
	if err := c.table([]string{"key", hostile + "\nforged\trow"}, []string{"end", ""}); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{out.String(), notes.String(), guardError(errors.New(hostile)).Error()} {
		if i := commandtest.IndexOfEscape(text); i >= 0 {
			t.Errorf("%q has an escape at %d", text, i)
		}
		if strings.Contains(text, "\nforged") || strings.Contains(text, "\trow") {
			t.Errorf("%q has a line of the server's own", text)
		}
	}
}

func TestErrorOfAServerIsShort(t *testing.T) {
	if text := guardError(errors.New(strings.Repeat("x", 1<<20))).Error(); len(text) > 2*maxErrorText {
		t.Errorf("%d bytes are printed", len(text))
	}
}
