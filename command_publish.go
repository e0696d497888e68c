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
	cmd.Flags().String("origin", "", "The site's origin, such as https://example.com (REALTIME_SOCKET_URL)")
	cmd.Flags().String("path", defaultPublishPath, "The site's publish_path")
	cmd.Flags().String("app", "", "The app's id (REALTIME_APP_ID)")
	cmd.RunE = runE(publishOnce)
	return cmd
}

func publishOnce(cmd *cobra.Command, fl caddycmd.Flags, args []string) error {
	origin := orElse(fl.String("origin"), os.Getenv("REALTIME_SOCKET_URL"))
	app := orElse(fl.String("app"), os.Getenv("REALTIME_APP_ID"))
	key := os.Getenv("REALTIME_PUBLISH_KEY")
	switch {
	case origin == "":
		return errors.New("which site? Give --origin https://example.com, or set REALTIME_SOCKET_URL")
	case app == "":
		return errors.New("which app? Give --app app_…, or set REALTIME_APP_ID")
	case key == "":
		return errors.New("set REALTIME_PUBLISH_KEY to the app's publish key (pk_live_…)")
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
	request, err := http.NewRequestWithContext(cmd.Context(), http.MethodPost, //nolint:gosec // the operator says where to
		strings.TrimSuffix(origin, "/")+fl.String("path"), &content)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-App-Id", app)
	request.Header.Set("Authorization", "Bearer "+key)
	return publishRequest(cmd, request, fl.Bool("json"))
}

// publishRequest sends a publish and prints what came of it.
func publishRequest(cmd *cobra.Command, request *http.Request, raw bool) error {
	answer, err := (&http.Client{Timeout: publishTimeout}).Do(request) //nolint:gosec // the operator says where to
	if err != nil {
		return err
	}
	defer answer.Body.Close()
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
