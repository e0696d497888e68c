package realtime

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
	"github.com/spf13/cobra"
)

// publishTimeout bounds a publish from the command line.
const publishTimeout = 30 * time.Second

func publishCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "publish <channel> <event> [<data>]",
		Short: "Publishes an event, as a backend does",
		Long: `Publishes an event with POST /publish, as a backend does.

<data> is JSON, @<file> is a file with JSON, and - is JSON on stdin; without it
the event has no data. The origin, the app's id and its publish key are read
from REALTIME_SOCKET_URL, REALTIME_APP_ID and REALTIME_PUBLISH_KEY. A flag for
the key would end up in the shell's history and in lists of processes.`,
		Example: `  export REALTIME_SOCKET_URL=https://example.com REALTIME_APP_ID=app_… REALTIME_PUBLISH_KEY=pk_live_…
  caddy realtime publish orders.42 order.updated '{"id":42}'`,
		Args: cobra.RangeArgs(2, 3),
	}
	siteFlags(cmd, "publish_path", defaultPublishPath)
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
	var content bytes.Buffer
	encoder := json.NewEncoder(&content)
	encoder.SetEscapeHTML(false) // data is sent as it was given
	if err := encoder.Encode(body); err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(cmd.Context(), http.MethodPost,
		strings.TrimSuffix(site.origin, "/")+site.path, &content)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-App-Id", site.app)
	request.Header.Set("Authorization", "Bearer "+site.key)
	answer, err := (&http.Client{Timeout: publishTimeout}).Do(request)
	if err != nil {
		return site.unreached(err)
	}
	defer answer.Body.Close()
	return showReceipt(cmd, request, answer, fl.Bool("json"))
}

// showReceipt prints what came of a publish.
func showReceipt(cmd *cobra.Command, request *http.Request, answer *http.Response, raw bool) error {
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAdminBody))
	if err != nil {
		return err
	}
	var receipt struct {
		published
		Error apiError `json:"error"`
	}
	if json.Unmarshal(text, &receipt) != nil || receipt.ID == "" && receipt.Error.Code == "" {
		return fmt.Errorf("%s answers %s, which is no answer of this gateway; check --origin and --path", request.URL, answer.Status)
	}
	if receipt.Error.Code != "" {
		return errors.New(receipt.Error.Message)
	}
	if raw {
		_, err = cmd.OutOrStdout().Write(text)
	} else {
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\t%d subscribers\n", receipt.ID, receipt.Subscribers)
	}
	return err
}

// readData is the JSON that an argument stands for.
func readData(arg string, stdin io.Reader) (data json.RawMessage, err error) {
	switch {
	case arg == "-":
		data, err = io.ReadAll(stdin)
	case strings.HasPrefix(arg, "@"):
		data, err = os.ReadFile(arg[1:])
	default:
		data = json.RawMessage(arg)
	}
	if err == nil && !json.Valid(data) {
		err = errors.New(`the data is not JSON; text needs quotes of its own: '"like this"'`)
	}
	return data, err
}
