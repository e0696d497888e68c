package command

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/seed-c079cc48/caddy-realtime/internal/bounds"
	"github.com/seed-c079cc48/caddy-realtime/internal/client"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
)

func listenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "listen [<channel>...]",
		Short: "Listens to channels like a client",
		Long: `Subscribes to channels like a client, and prints the events published to
them until it is interrupted.

A line is the event's name, a tab, and its data as JSON, null if it has none.
With --json it is an object of id, event, data and time, which is when the event
came here. Characters that a terminal would act on are written as \uXXXX.

A lost connection is made anew, and what was published meanwhile is printed then.
If that is not possible, a note on stderr says so. A refusal ends the command, as does a server that withdraws the credentials.

The origin, the app's id and its subscribe key are read from REALTIME_URL (or
REALTIME_SOCKET_URL), REALTIME_APP_ID and REALTIME_SUBSCRIBE_KEY. A user's token in
REALTIME_TOKEN, in place of the key or with it, opens the channels that it names,
and what is published to the user is printed too; no channel is needed then. A flag
for the key or the token would end up in the shell's history and in lists of
processes.`,
		Example: `  export REALTIME_URL=https://example.com REALTIME_APP_ID=app_… REALTIME_SUBSCRIBE_KEY=sub_live_…
  caddy realtime listen orders.42
  caddy realtime listen orders.42 orders.43 --json --count 10
  caddy realtime listen orders.42 --rewind 10
  REALTIME_TOKEN=$(caddy realtime token create app_… --user 42 --channel private-user.42) \\
    caddy realtime listen private-user.42`,
		Args: listenArgs,
	}
	siteFlags(cmd, "socket_path", "/socket.io")
	cmd.Flags().Int("count", 0, "End after this many events; 0 means never")
	cmd.Flags().String("since", "", "Begin after the message with this id, if the gateway still has what followed")
	cmd.Flags().String("rewind", "", "Begin with this many earlier messages, for example 10, or with those of a time, for example 2m")
	cmd.Flags().String("max-message", humanize.IBytes(client.DefaultMaxMessage), "Largest message to accept; more than the gateway's max_body")
	cmd.RunE = runE(listen)
	return cmd
}

// listenArgs checks the arguments.
func listenArgs(cmd *cobra.Command, channels []string) error {
	switch flags := cmd.Flags(); {
	case len(channels) > 0:
		return nil
	case os.Getenv("REALTIME_TOKEN") == "":
		return errors.New("which channel? For example: caddy realtime listen orders.42. With a user's token in REALTIME_TOKEN, no channel is needed")
	case flags.Changed("since") || flags.Changed("rewind"):
		return errors.New("--since and --rewind need a channel")
	}
	return nil
}

// readListenSite is readSite, and reads the token.
func readListenSite(fl caddycmd.Flags) (siteAccount, error) {
	token := strings.TrimSpace(os.Getenv("REALTIME_TOKEN"))
	if token != "" {
		if err := checkTokenText(token); err != nil {
			return siteAccount{}, fmt.Errorf("REALTIME_TOKEN: %w", err)
		}
	}
	site, err := readSite(fl, "REALTIME_SUBSCRIBE_KEY", "subscribe key (sub_live_…), or REALTIME_TOKEN to a user's token", token == "")
	site.token = token
	return site, err
}

func listen(cmd *cobra.Command, fl caddycmd.Flags, channels []string) error {
	site, err := readListenSite(fl)
	if err != nil {
		return err
	}
	count := fl.Int("count")
	if count < 0 {
		return fmt.Errorf("--count %d is negative", count)
	}
	maxMessage, err := messageSize(fl.String("max-message"))
	if err != nil {
		return err
	}
	from, err := fromFlags(fl.String("since"), fl.String("rewind"))
	if err != nil {
		return err
	}
	l := &listener{
		from:       from,
		site:       site,
		channels:   channels,
		count:      count,
		maxMessage: maxMessage,
		show:       printLine(cmd.OutOrStdout()),
		notes:      cmd.ErrOrStderr(),
	}
	if fl.Bool("json") {
		l.show = printJSON(cmd.OutOrStdout())
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal also ends a blocked write
	return l.run(ctx)
}

// maxRewind is how many messages a gateway replays on request.
const maxRewind = 100

// fromFlags says where to begin.
func fromFlags(since, rewind string) (from client.From, err error) {
	if since != "" && rewind != "" {
		return from, errors.New("--since and --rewind exclude each other")
	}
	from.Since = since
	if rewind == "" {
		return from, nil
	}
	if from.Last, err = strconv.Atoi(rewind); err == nil && from.Last >= 1 && from.Last <= maxRewind {
		return from, nil
	}
	from.Last = 0
	from.Within, err = caddy.ParseDuration(rewind)
	if err != nil || from.Within <= 0 || from.Within > bounds.MaxDuration {
		return from, fmt.Errorf("--rewind %q is neither a number of messages from 1 to %d nor a duration up to %s; for example: --rewind 10 or --rewind 2m",
			rewind, maxRewind, text.ShortDuration(bounds.MaxDuration))
	}
	return from, nil
}

// explainEnd says why listening ended, and what to do.
func (s siteAccount) explainEnd(err error) error {
	switch {
	case errors.Is(err, errNoOutput):
		return err
	case errors.Is(err, client.ErrOrigin):
		return fmt.Errorf("--origin is %w", err)
	case errors.Is(err, client.ErrDisconnected):
		return errors.New("the credentials were withdrawn: the subscribe key or the token was revoked or has expired, " +
			"the user was disconnected, or the app was disabled or deleted")
	case errors.Is(err, client.ErrTooLarge):
		return fmt.Errorf("%s%s: %w; if that is your gateway, set --max-message above its max_body and the app's", s.origin, s.path, err)
	case errors.Is(err, client.ErrProtocol), errors.Is(err, client.ErrNoWebSocket):
		return fmt.Errorf("%s%s: %w; check --origin (http or https?) and --path", s.origin, s.path, err)
	}
	if refusal, ok := errors.AsType[*client.Refusal](err); ok {
		return errors.New(refusal.Message)
	}
	if status, ok := errors.AsType[*client.StatusError](err); ok {
		if status.Message != "" { // from the gateway
			return errors.New(status.Message)
		}
		if status.Location != "" {
			return s.redirected(s.path, strconv.Itoa(status.Status)+" "+http.StatusText(status.Status), status.Location)
		}
		return fmt.Errorf("%s%s: %w, which is not an answer of this gateway; check --origin and --path",
			s.origin, s.path, status)
	}
	return s.unreached(err)
}

// messageSize parses the maximum message size, in bytes.
func messageSize(text string) (int64, error) {
	n, err := humanize.ParseBytes(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("--max-message %q is not a size; for example: --max-message 16MiB", text)
	case n < 1 || n > bounds.MaxSize:
		return 0, fmt.Errorf("--max-message is %s; it must be from 1 B to %s", humanize.IBytes(n), humanize.IBytes(bounds.MaxSize))
	}
	return int64(n), nil
}
