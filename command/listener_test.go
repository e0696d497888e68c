package command

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/client"
)

func TestListenerComesBackOnlyWhereThatCanHelp(t *testing.T) {
	network := &net.OpError{Op: "dial", Err: io.ErrUnexpectedEOF}
	for _, c := range []struct {
		name         string
		err          error
		first, later bool
	}{
		{"network", network, false, true},
		{"closed", client.ErrClosed, false, true},
		{"silent", client.ErrSilent, false, true},
		{"not found", &client.StatusError{Status: 404}, false, true},
		{"no websocket", client.ErrNoWebSocket, false, true},
		{"unavailable", &client.StatusError{Status: 503}, true, true},
		{"too many requests", &client.StatusError{Status: 429}, true, true},
		{"refused: unavailable", &client.Refusal{Code: "unavailable"}, true, true},
		{"refused: too many", &client.Refusal{Code: "too_many_connections"}, false, true},
		{"refused", &client.Refusal{Code: "key_revoked"}, false, false},
		{"disconnected", client.ErrDisconnected, false, false},
		{"garbage", fmt.Errorf("%w: x", client.ErrProtocol), false, false},
		{"too large", fmt.Errorf("%w: x", client.ErrTooLarge), false, false},
		{"stdout", fmt.Errorf("%w: full", errNoOutput), false, false},
	} {
		for connected, want := range map[bool]bool{false: c.first, true: c.later} {
			l := &listener{connected: connected}
			if _, got := l.again(c.err); got != want {
				t.Errorf("%s, connected before %t: comes back %t", c.name, connected, got)
			}
		}
	}
}

func TestListenerWaitsAsLongAsTheServerSays(t *testing.T) {
	for _, status := range []int{429, 503} {
		l := &listener{}
		if delay, _ := l.again(&client.StatusError{Status: status, RetryAfter: time.Minute}); delay != time.Minute {
			t.Errorf("%d: waits %s", status, delay)
		}
		if delay, _ := l.again(&client.StatusError{Status: status}); delay < time.Second || delay > 2*time.Second {
			t.Errorf("%d: waits %s, the second time", status, delay)
		}
	}
}

func TestWhereListeningBegins(t *testing.T) {
	for _, c := range []struct {
		since, rewind string
		want          client.From
	}{
		{"", "", client.From{}},
		{"AAAA-7", "", client.From{Since: "AAAA-7"}},
		{"", "1", client.From{Last: 1}},
		{"", "100", client.From{Last: 100}},
		{"", "90s", client.From{Within: 90 * time.Second}},
		{"", "1d", client.From{Within: 24 * time.Hour}},
	} {
		if from, err := fromFlags(c.since, c.rewind); err != nil || from != c.want {
			t.Errorf("%q, %q: %+v, %v", c.since, c.rewind, from, err)
		}
	}
	for _, rewind := range []string{"0", "-1", "101", "1.5", "soon", "0s", "-1s", "25h"} {
		if from, err := fromFlags("", rewind); err == nil || !strings.Contains(err.Error(), "--rewind 10 or --rewind 2m") {
			t.Errorf("%q: %+v, %v", rewind, from, err)
		}
	}
	if _, err := fromFlags("AAAA-7", "1"); err == nil || !strings.Contains(err.Error(), "exclude each other") {
		t.Errorf("both: %v", err)
	}
}

func TestWhatATerminalActsOnIsEscaped(t *testing.T) {
	for text, want := range map[string]string{
		"order.updated":                 "order.updated",
		"é 🎉 \\ \"":                     "é 🎉 \\ \"",
		"\x1b[31m\t\r\n\x00\x7f":        `\u001b[31m\u0009\u000d\u000a\u0000\u007f`,
		"\u009b2J":                      `\u009b2J`,
		"\u202eabc\u2066\u200f\u2028x":  `\u202eabc\u2066\u200f\u2028x`,
		"half \x9b31m":                  "half \ufffd31m",
		"~\x7f\u0080\u009f\u00a0\u061c": `~\u007f\u0080\u009f` + "\u00a0" + `\u061c`,
	} {
		if got := visible(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

func TestEventIsOneLine(t *testing.T) {
	var out strings.Builder
	for _, e := range []client.Event{{Name: "a\nb"}, {Name: "c", Data: []byte("{ \"d\" :\n 1.0 }")}} {
		if err := printLine(&out)(e); err != nil {
			t.Error(err)
		}
	}
	if got, want := out.String(), "a\\u000ab\t\nc\t{\"d\":1.0}\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
