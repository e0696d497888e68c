// Package command implements "caddy realtime …".
package command

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "realtime",
		Usage: "<command>",
		Short: "Manages the realtime gateway's apps and keys, publishes and listens",
		Long: `
Manages the apps, keys, channel rules and webhooks of a running Caddy with the
realtime module, and shows their users and channels, through its admin endpoint.
No configuration is reloaded, and answered changes are on disk.

The admin endpoint is --address, or the address in the file given with --config,
or localhost:2019. Unlike 'caddy reload', the commands do not read a Caddyfile
in the current directory. A unix socket is --address unix//run/caddy/admin.sock.

publish and listen do not use the admin endpoint: like a backend and a client,
they connect to a site. keystore copy opens the keystores itself.

Results go to stdout, notes to stderr. --json prints the server's answer.
`,
		CobraFunc: func(cmd *cobra.Command) {
			flags := cmd.PersistentFlags()
			flags.String("address", "", "Address of the admin endpoint")
			flags.StringP("config", "c", "", "Configuration file to find the admin endpoint in")
			flags.StringP("adapter", "a", "", "Name of config adapter to apply")
			flags.Bool("json", false, "Print JSON, for scripts")
			cmd.AddCommand(
				appCommand(), keyCommand(), ruleCommand(), webhookCommand(), tokenCommand(),
				userCommand(), channelCommand(), machinesCommand(), publishCommand(), listenCommand(), portalCommand(),
				keystoreCommand(),
			)
		},
	})
}

// group returns a command that only has subcommands.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short}
	cmd.AddCommand(commands...)
	return cmd
}

// adminCommand returns a command that uses the admin endpoint.
func adminCommand(use, short string, args int, run func(c *adminClient, args []string) error) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.ExactArgs(args),
		RunE: runE(func(cmd *cobra.Command, fl caddycmd.Flags, args []string) error {
			addr, err := caddycmd.DetermineAdminAPIAddress(fl.String("address"), nil, fl.String("config"), fl.String("adapter"))
			if err != nil {
				return err
			}
			return run(&adminClient{
				addr: addr, flags: fl, raw: fl.Bool("json"), in: cmd.InOrStdin(), out: cmd.OutOrStdout(), notes: cmd.ErrOrStderr(),
			}, args)
		}),
	}
}

// runE makes Caddy report a command's error like its own errors. Every command
// runs through it, so that none prints characters that a terminal acts on.
func runE(run func(*cobra.Command, caddycmd.Flags, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		guardOutput(cmd)
		return caddycmd.WrapCommandFuncForCobra(func(fl caddycmd.Flags) (int, error) {
			if err := run(cmd, fl, args); err != nil {
				return 1, guardError(err)
			}
			return 0, nil
		})(cmd, args)
	}
}

// An adminClient sends requests to the admin endpoint of a running Caddy.
type adminClient struct {
	addr  string
	flags caddycmd.Flags
	raw   bool // print results as received
	in    io.Reader
	out   io.Writer
	notes io.Writer

	timeout  time.Duration // of each request; 0 means adminTimeout
	maxPages int           // of a list; 0 means maxPages
}

// adminTimeout bounds a request to the admin endpoint, including its answer.
const adminTimeout = 30 * time.Second

// An answer is what the endpoint answered a request.
type answer struct {
	text   []byte
	header http.Header
}

// ask returns the body of the endpoint's answer, or an error if that takes too long.
func (c *adminClient) ask(method, path string, body any) ([]byte, error) {
	a, err := c.askWith(nil, method, path, body)
	return a.text, err
}

// askWith is like ask, with headers.
func (c *adminClient) askWith(header http.Header, method, path string, body any) (answer, error) {
	type outcome struct {
		answer answer
		err    error
	}
	done := make(chan outcome, 1)
	go func() { // Caddy's client cannot be cancelled; an unanswered request ends with the process
		a, err := c.exchange(header, method, path, body)
		done <- outcome{a, err}
	}()
	timeout := cmp.Or(c.timeout, adminTimeout)
	select {
	case o := <-done:
		return o.answer, o.err
	case <-time.After(timeout):
		return answer{}, fmt.Errorf("%s has not answered completely within %s. The request may have succeeded: check with caddy realtime app list, then try again. "+
			"If that is not Caddy's admin endpoint, check --address", c.addr, timeout)
	}
}

// exchange sends a request and reads the answer.
func (c *adminClient) exchange(header http.Header, method, path string, body any) (answer, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		content = bytes.NewReader(text)
	}
	response, err := caddycmd.AdminAPIRequest(c.addr, method, path, header, content)
	if err != nil {
		return answer{}, c.explain(err)
	}
	defer response.Body.Close()
	if redirect := response.Request.Response; redirect != nil {
		return answer{}, fmt.Errorf("%s answers %s, a redirect to %s, which Caddy's admin endpoint never does; check --address",
			c.addr, redirect.Status, response.Request.URL)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAdminAnswer+1))
	switch {
	case err != nil:
		return answer{}, fmt.Errorf("the answer of %s broke off: %w. The request may have succeeded: check with caddy realtime app show, then try again; "+
			"if that is not Caddy's admin endpoint, check --address", c.addr, err)
	case len(text) > maxAdminAnswer:
		return answer{}, fmt.Errorf("%s answers with more than %d bytes, which Caddy's admin endpoint never does; check --address", c.addr, maxAdminAnswer)
	}
	return answer{text, response.Header}, nil
}

// decode reads an answer.
func (c *adminClient) decode(text []byte, into any) error {
	if !json.Valid(text) {
		return fmt.Errorf("%s does not answer with JSON; is that Caddy's admin endpoint? If not, use --address", c.addr)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s answers with JSON that this command does not understand: %w. Is that Caddy's admin endpoint, and of this version? If not, use --address", c.addr, err)
	}
	return nil
}

// maxAdminAnswer is the maximum size of an answer, in bytes. The largest is a
// page of apps, each with the maximum of keys and origins.
const maxAdminAnswer = 32 << 20

// call sends a request and decodes the answer. With --json it prints the answer
// instead, and returns false.
func (c *adminClient) call(method, path string, body, into any) (bool, error) {
	text, err := c.ask(method, path, body)
	if err != nil {
		return false, err
	}
	return c.read(text, into)
}

// read decodes an answer. With --json it prints the answer instead, and returns
// false.
func (c *adminClient) read(text []byte, into any) (bool, error) {
	if !c.raw {
		err := c.decode(text, into)
		return err == nil, err
	}
	var whole json.RawMessage
	if err := c.decode(text, &whole); err != nil {
		return false, err
	}
	_, err := fmt.Fprintln(c.out, visible(compact(whole)))
	return false, err
}

// compact returns valid JSON without its whitespace.
func compact(text []byte) string {
	var b bytes.Buffer
	_ = json.Compact(&b, text) // it is valid
	return b.String()
}

// A refusal is an error that the gateway answered.
type refusal struct{ code, message string }

// Error implements error.
func (r *refusal) Error() string { return r.message }

// explain turns an error of the admin endpoint or the network into advice.
func (c *adminClient) explain(err error) error {
	_, text, found := strings.Cut(err.Error(), "{")
	var body struct{ Error json.RawMessage }
	if !found || json.Unmarshal([]byte("{"+text), &body) != nil {
		if strings.Contains(err.Error(), "HTTP 404") {
			return fmt.Errorf("the Caddy at %s has no realtime module; build one that has it, see xcaddy.md", c.addr)
		}
		return fmt.Errorf("no Caddy answers at the admin endpoint %s: %w. Is it running? "+
			"If its admin endpoint is elsewhere, use --address or --config; with 'admin off' it has none", c.addr, err)
	}
	var ours struct{ Code, Message string }
	if json.Unmarshal(body.Error, &ours) == nil && ours.Message != "" {
		return &refusal{ours.Code, ours.Message}
	}
	return err
}

// table prints rows of columns. A cell cannot add a column or a row.
func (c *adminClient) table(rows ...[]string) error {
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			row[i] = visible(cell)
		}
		if _, err := fmt.Fprintln(w, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return w.Flush()
}

// note prints a line that is not a result.
func (c *adminClient) note(format string, a ...any) { note(c.notes, format, a...) }

// note prints a line.
func note(to io.Writer, format string, a ...any) {
	_, _ = fmt.Fprintln(to, visible(fmt.Sprintf(format, a...))) // there is nowhere else to report it
}

// appPath and keyPath return paths of the admin API.
func appPath(app string) string { return "/realtime/apps/" + pathPart(app) }

func keyPath(app string, more ...string) string { return adminPath("keys", app, more...) }

// adminPath returns a path of the admin API that belongs to an app.
func adminPath(kind, app string, more ...string) string {
	var path strings.Builder
	path.WriteString("/realtime/" + kind + "/" + pathPart(app))
	for _, part := range more {
		path.WriteString("/" + pathPart(part))
	}
	return path.String()
}

// pathPart escapes one part of a path, also where servers would resolve it: a user
// can be called "..".
func pathPart(name string) string {
	if name == "." || name == ".." {
		return strings.ReplaceAll(name, ".", "%2E")
	}
	return url.PathEscape(name)
}
