// Package commandtest runs the commands of "caddy realtime" in tests.
package commandtest

import (
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"unicode"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// A Result is a command's output, and the error that it returned, which Caddy
// logs.
type Result struct {
	Stdout, Stderr string
	Err            error
}

// Said returns everything that a terminal shows of the result.
func (r Result) Said() string { return r.Stdout + r.Stderr + r.Failure() }

// Failure returns the text of the error, or "" if there is none.
func (r Result) Failure() string {
	if r.Err == nil {
		return ""
	}
	return r.Err.Error()
}

// Run runs "caddy realtime" in this process, with the command that is
// registered with Caddy. tests/hostile.test.mjs and tests/command.test.mjs
// cover the path through Caddy's main.
func Run(t *testing.T, stdin io.Reader, args ...string) Result {
	t.Helper()
	registered := caddycmd.Commands()["realtime"]
	realtime := &cobra.Command{Use: registered.Name + " " + registered.Usage, Short: registered.Short, Long: registered.Long}
	registered.CobraFunc(realtime)
	root := &cobra.Command{Use: "caddy", SilenceUsage: true}
	root.AddCommand(realtime)
	root.SetArgs(append([]string{"realtime"}, args...))
	var stdout, stderr strings.Builder
	root.SetIn(stdin)
	root.SetOut(&stdout)
	root.SetErr(&stderr)
	err := root.ExecuteContext(t.Context())
	return Result{stdout.String(), stderr.String(), err}
}

// SetSite sets the environment of publish and listen: credentials for an
// origin, which is unset if it is "".
func SetSite(t *testing.T, origin string) {
	t.Helper()
	for name, value := range map[string]string{
		"REALTIME_URL": origin, "REALTIME_SOCKET_URL": "", "REALTIME_APP_ID": "app_1",
		"REALTIME_PUBLISH_KEY": "pk_live_secret", "REALTIME_SUBSCRIBE_KEY": "sub_live_secret",
		"REALTIME_TOKEN": "",
	} {
		t.Setenv(name, value)
	}
}

// MustBeHarmless fails if a terminal would act on the output, or if a server
// wrote a line of it.
func MustBeHarmless(t *testing.T, r Result, about []string) {
	t.Helper()
	for _, text := range []string{r.Stdout, r.Stderr, r.Failure()} {
		if i := IndexOfEscape(text); i >= 0 {
			t.Errorf("%s: %q has an escape at %d", about, text, i)
		}
		if strings.HasPrefix(text, "forged") || strings.Contains(text, "\nforged") {
			t.Errorf("%s: %q has a line of the server's own", about, text)
		}
	}
	if strings.Contains(r.Failure(), "\n") {
		t.Errorf("%s: the error %q has more than a line", about, r.Err)
	}
}

// MustFail fails unless the command failed, printed nothing that a script would
// read, and said this.
func MustFail(t *testing.T, r Result, command, says string) {
	t.Helper()
	if r.Err == nil || r.Stdout != "" || !regexp.MustCompile("(?s)"+says).MatchString(r.Stderr+r.Failure()) {
		t.Errorf("%s: got %+v, want %s", command, r, says)
	}
	MustBeHarmless(t, r, []string{command})
}

// MustSay fails unless the text matches the expression, across lines.
func MustSay(t *testing.T, text, pattern string) {
	t.Helper()
	if !regexp.MustCompile("(?s)" + pattern).MatchString(text) {
		t.Errorf("%q does not say %s", text, pattern)
	}
}

// ClosedOrigin returns an origin where nothing listens.
func ClosedOrigin(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // nothing to cancel
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

// IndexOfEscape returns the index of the first character that a terminal would
// act on, except for new lines and tabs, or -1.
func IndexOfEscape(text string) int {
	return strings.IndexFunc(text, func(r rune) bool {
		return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029')
	})
}
