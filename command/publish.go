package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/seed-c079cc48/caddy-realtime/internal/bounds"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

// publishTimeout bounds a publish from the command line.
const publishTimeout = 30 * time.Second

func publishCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "publish <channel> <event> [<data>]",
		Short: "Publishes an event like a backend",
		Long: `Publishes an event with POST /publish, like a backend.

<data> is JSON, @<file> is a file with JSON, and - is JSON on stdin; without it
the event has no data. The origin, the app's id and its publish key are read
from REALTIME_URL (or REALTIME_SOCKET_URL), REALTIME_APP_ID and
REALTIME_PUBLISH_KEY. A redirect is not followed. A flag for the key would end up
in the shell's history and in lists of processes.`,
		Example: `  export REALTIME_URL=https://example.com REALTIME_APP_ID=app_… REALTIME_PUBLISH_KEY=pk_live_…
  caddy realtime publish orders.42 order.updated '{"id":42}'`,
		Args: cobra.RangeArgs(2, 3),
	}
	siteFlags(cmd, "publish_path", "/publish")
	cmd.RunE = runE(publishOnce)
	return cmd
}

func publishOnce(cmd *cobra.Command, fl caddycmd.Flags, args []string) error {
	site, err := readSite(fl, "REALTIME_PUBLISH_KEY", "publish key (pk_live_…)")
	if err != nil {
		return err
	}
	body := map[string]any{"channel": args[0], "event": args[1]}
	if len(args) == 3 {
		data, err := readData(args[2], cmd.InOrStdin())
		if err != nil {
			return err
		}
		body["data"] = data
	}
	content, err := text.JSON(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(cmd.Context(), http.MethodPost,
		strings.TrimSuffix(site.origin, "/")+site.path, bytes.NewReader(content))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-App-Id", site.app)
	request.Header.Set("Authorization", "Bearer "+site.key)
	sender := &http.Client{
		Timeout: publishTimeout,
		// Go forwards the key to another port of the host, and from https to
		// http.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	answer, err := sender.Do(request)
	if err != nil {
		return site.unreached(err)
	}
	defer answer.Body.Close()
	return site.showReceipt(cmd, answer, fl.Bool("json"))
}

// showReceipt prints the result of a publish. Only the gateway's receipt means
// success: any other answer means that nothing was published.
func (s siteAccount) showReceipt(cmd *cobra.Command, answer *http.Response, raw bool) error {
	if answer.StatusCode >= 300 && answer.StatusCode < 400 {
		return s.redirected(s.path, answer.Status, answer.Header.Get("Location"))
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, manage.MaxBody))
	if err != nil {
		return s.unreached(err)
	}
	var receipt struct {
		ID          string
		Subscribers int
		Error       struct{ Code, Message string }
	}
	valid := json.Unmarshal(text, &receipt) == nil
	switch {
	case valid && receipt.Error.Code != "" && receipt.Error.Message != "":
		return errors.New(receipt.Error.Message)
	case !valid || receipt.ID == "" || answer.StatusCode < 200 || answer.StatusCode > 299:
		return fmt.Errorf("%s answers %s with %s, which is not an answer of this gateway: the event may not have been published. Check --origin and --path",
			answer.Request.URL, answer.Status, describeBody(answer.Header.Get("Content-Type"), text))
	case raw:
		_, err = fmt.Fprintln(cmd.OutOrStdout(), visible(compact(text)))
	default:
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\t%d subscribers\n", visible(receipt.ID), receipt.Subscribers)
	}
	return err
}

// describeBody describes an answer that is not a receipt.
func describeBody(contentType string, text []byte) string {
	switch {
	case len(text) == 0:
		return "an empty body"
	case json.Valid(text):
		return "JSON without an id"
	case contentType == "":
		return "a body that is not JSON"
	}
	return "a body of type " + contentType
}

// readData returns the JSON that an argument stands for.
func readData(arg string, stdin io.Reader) (data json.RawMessage, err error) {
	switch {
	case arg == "-":
		data, err = readAtMost(stdin, bounds.MaxSize)
	case strings.HasPrefix(arg, "@"):
		data, err = readFile(arg[1:])
	default:
		data = json.RawMessage(arg)
	}
	if err == nil && !json.Valid(data) {
		err = errors.New(`the data is not JSON; text needs its own quotes: '"like this"'`)
	}
	return data, err
}

func readFile(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readAtMost(file, bounds.MaxSize)
}

// readAtMost reads input that may not end, for example a pipe or a device.
func readAtMost(r io.Reader, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("the data has more than %s, the highest possible max_body; send less", humanize.IBytes(uint64(most)))
	}
	return data, err
}
