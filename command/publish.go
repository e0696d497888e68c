package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/seed-c079cc48/caddy-realtime/internal/bounds"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/message"
)

func publishCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "publish <channel> <event> [<data>]",
		Short: "Publishes an event, or a file of events, like a backend",
		Long: `Publishes an event with POST /publish, like a backend.

<data> is JSON, @<file> is a file with JSON, and - is JSON on stdin; without it
the event has no data. With --channel, once or several times, the arguments are
<event> [<data>], and each of the channels gets the event. With --user,
the arguments are the same, and all sockets of the user get the event.

--file publishes a file of messages, or - for stdin: one JSON object per line,
with the fields of an element of "messages" in a request: channel or user, event,
data, except, history. Empty lines are skipped. Up to 100 lines are one request: all of
them are published or none, and none if one is wrong. A request that was not
answered, or was answered with 409, 429 or 503, is repeated a few times, with an
idempotency key of its own, so that nothing is published twice. An error says how
many lines are published, and the --skip and --idempotency-key to go on with.

The origin, the app's id and its publish key are read from REALTIME_URL (or
REALTIME_SOCKET_URL), REALTIME_APP_ID and REALTIME_PUBLISH_KEY. A redirect is not
followed. A flag for the key would end up in the shell's history and in lists of
processes.`,
		Example: `  export REALTIME_URL=https://example.com REALTIME_APP_ID=app_… REALTIME_PUBLISH_KEY=pk_live_…
  caddy realtime publish orders.42 order.updated '{"id":42}'
  caddy realtime publish --channel orders.42 --channel orders order.updated '{"id":42}'
  caddy realtime publish --user 42 order.updated '{"id":42}'
  caddy realtime publish --file events.ndjson`,
		Args: publishArgs,
	}
	siteFlags(cmd, "publish_path", "/publish")
	cmd.Flags().StringArray("channel", nil, "A channel; repeat it to publish the same event to several")
	cmd.Flags().String("user", "", "The id of a user, all of whose sockets get the event")
	cmd.Flags().Bool("no-history", false, "Deliver the event without keeping it in the channel's history")
	cmd.Flags().String("idempotency-key", "", "Publish once, even if this command is repeated with the same key within 5 minutes")
	cmd.Flags().String("file", "", "A file with one message per line, as JSON; - is stdin")
	cmd.Flags().Int("skip", 0, "Begin after this many lines of the file")
	cmd.RunE = runE(publish)
	return cmd
}

// publishArgs checks the arguments, whose number depends on the flags.
func publishArgs(cmd *cobra.Command, args []string) error {
	flags := cmd.Flags()
	if flags.Changed("file") {
		for _, other := range []string{"channel", "user", "no-history"} {
			if flags.Changed(other) {
				return fmt.Errorf(`--%s is for one event. With --file, each line has its own "channel" or "user", and "history"`, other)
			}
		}
		if len(args) > 0 {
			return errors.New("--file takes no arguments: each line of the file has its own channel or user, event and data")
		}
		return nil
	}
	if flags.Changed("skip") {
		return errors.New("--skip is for --file")
	}
	channel, user := flags.Changed("channel"), flags.Changed("user")
	switch n := len(args); {
	case channel && user:
		return errors.New("use either --channel or --user, not both: an event for a channel's subscribers, and one for the sockets of a user, are two publishes")
	case channel || user:
		if n < 1 || n > 2 {
			return fmt.Errorf("with --channel or --user the arguments are <event> [<data>], not %d", n)
		}
	case n < 2:
		return errors.New("for whom is the event? Use <channel> <event> [<data>], --channel orders.42 <event> [<data>], or --user 42 <event> [<data>]")
	}
	return cobra.RangeArgs(1, 3)(cmd, args)
}

func publish(cmd *cobra.Command, fl caddycmd.Flags, args []string) error {
	site, err := readSite(fl, "REALTIME_PUBLISH_KEY", "publish key (pk_live_…)", true)
	if err != nil {
		return err
	}
	if err := checkIdempotencyKey(cmd); err != nil {
		return err
	}
	if cmd.Flags().Changed("file") {
		return publishFile(cmd, fl, newPublishSender(site))
	}
	return publishOnce(cmd, fl, newPublishSender(site), args)
}

// maxIdempotencyKey is the maximum length of --idempotency-key. The gateway takes
// 255 characters; --file appends the number of a line.
const maxIdempotencyKey = 200

// checkIdempotencyKey checks the flag if it is set.
func checkIdempotencyKey(cmd *cobra.Command) error {
	flag := cmd.Flags().Lookup("idempotency-key")
	key := flag.Value.String()
	isOther := func(c rune) bool { return c < ' ' || c > '~' }
	if flag.Changed && (key == "" || len(key) > maxIdempotencyKey || strings.IndexFunc(key, isOther) >= 0) {
		return fmt.Errorf("--idempotency-key is not 1 to %d printable ASCII characters; use for example a UUID", maxIdempotencyKey)
	}
	return nil
}

// publishOnce publishes one event.
func publishOnce(cmd *cobra.Command, fl caddycmd.Flags, sender publishSender, args []string) error {
	channels, err := cmd.Flags().GetStringArray("channel")
	if err != nil {
		return err
	}
	body := make(map[string]any)
	switch flags := cmd.Flags(); {
	case flags.Changed("user"):
		user := fl.String("user")
		if err := message.CheckUser("--user", user); err != nil {
			return err
		}
		body["user"] = user
	case flags.Changed("channel") && len(channels) == 0:
		return errors.New("--channel is empty; for example: --channel orders.42")
	case flags.Changed("channel"):
		body["channels"] = channels
	default:
		body["channel"] = args[0]
		args = args[1:]
	}
	body["event"] = args[0]
	if fl.Bool("no-history") {
		body["history"] = false
	}
	if len(args) == 2 {
		data, err := readData(args[1], cmd.InOrStdin())
		if err != nil {
			return err
		}
		body["data"] = data
	}
	content, err := text.JSON(body)
	if err != nil {
		return err
	}
	answer, failure := sender.send(cmd.Context(), content, fl.String("idempotency-key"), max(len(channels), 1))
	if failure != nil {
		return failure.error
	}
	if fl.Bool("json") {
		_, err = fmt.Fprintln(cmd.OutOrStdout(), visible(compact(answer.text)))
		return err
	}
	for i, receipt := range answer.receipts {
		line := fmt.Sprintf("%s\t%d subscribers", visible(receipt.ID), receipt.Subscribers)
		if len(channels) > 1 {
			line = visible(channels[i]) + "\t" + line
		}
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), line); err != nil {
			return err
		}
	}
	return nil
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
