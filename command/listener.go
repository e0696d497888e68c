package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/client"
)

// errNoOutput means that events can no longer be printed.
var errNoOutput = errors.New("cannot write to stdout")

// A listener follows channels, reconnecting as often as needed.
type listener struct {
	site       siteAccount
	channels   []string
	count      int   // of events to show; 0 means no limit
	maxMessage int64 // of a message, in bytes
	show       func(client.Event) error
	notes      io.Writer

	from client.From // for the first subscribe to each channel

	shown     int
	connected bool            // at least once: the site and the credentials are right
	pid, last string          // of the session, and the ID of the last event shown
	begun     map[string]bool // channels that were subscribed to at least once
	joined    map[string]bool // channels that the session is in
	backoff   client.Backoff
}

// run returns nil after enough events or when the context ends, else an error
// that says why retrying is useless.
func (l *listener) run(ctx context.Context) error {
	for {
		err := l.session(ctx)
		if err == nil || ctx.Err() != nil {
			return nil //nolint:nilerr // an interrupt is a normal end, not an error
		}
		delay, again := l.again(err)
		if !again {
			return l.site.explainEnd(err)
		}
		l.noteWait(err, delay)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(delay):
		}
	}
}

// session runs one connection until it ends. It returns nil after enough
// events.
func (l *listener) session(ctx context.Context) (err error) {
	c, err := client.Dial(ctx, client.Config{
		Origin: l.site.origin, Path: l.site.path, AppID: l.site.app, SubscribeKey: l.site.key, Token: l.site.token,
		MaxMessage: l.maxMessage,
		Recover:    true, Session: l.pid, Position: l.last,
	})
	if err != nil {
		return err
	}
	defer func() {
		if err == nil || ctx.Err() != nil {
			_ = c.Close()
		} else {
			c.Abort() // a goodbye would end the session
		}
	}()
	l.arrived(c)
	for _, channel := range l.channels {
		if err := l.subscribe(ctx, c, channel); err != nil {
			return err
		}
	}
	l.backoff.Reset()
	for {
		event, err := c.Next(ctx)
		if err != nil {
			return err
		}
		if err := l.show(event); err != nil {
			return fmt.Errorf("%w: %w", errNoOutput, err)
		}
		if event.ID != "" {
			l.last = event.ID
		}
		if l.shown++; l.shown == l.count {
			return nil
		}
	}
}

// arrived says what has become of the session, if there was one.
func (l *listener) arrived(c *client.Client) {
	switch {
	case c.Recovered():
		l.note("recovered: nothing was missed")
	case l.connected:
		l.note("not recovered: events may have been missed")
	case len(l.channels) == 0:
		l.note("connected: listening to what is published to the token's user")
	}
	if !c.Recovered() {
		l.joined = nil
	}
	l.connected, l.pid = true, c.Session()
}

// subscribe subscribes to a channel, unless the session is in it.
func (l *listener) subscribe(ctx context.Context, c *client.Client, channel string) error {
	if l.joined[channel] {
		return nil
	}
	from := l.from
	if l.begun[channel] {
		from = client.From{}
	}
	standing, err := c.Subscribe(ctx, channel, from)
	if err != nil {
		return err
	}
	if l.begun == nil {
		l.begun = make(map[string]bool)
	}
	if l.joined == nil {
		l.joined = make(map[string]bool)
	}
	l.begun[channel], l.joined[channel] = true, true
	l.note("subscribed to %s", channel)
	if standing.Missing != "" {
		l.note("earlier events of %s are missing: %s", channel, standing.Missing)
	}
	return nil
}

// again reports whether to reconnect, and when. If the first connection fails,
// that is a mistake to report, unless the server asks to retry later; later
// failures are due to the network or a restarting server.
func (l *listener) again(err error) (time.Duration, bool) {
	delay := l.backoff.Next()
	status, ok := errors.AsType[*client.StatusError](err)
	if ok && (status.Status == http.StatusServiceUnavailable || status.Status == http.StatusTooManyRequests) {
		return max(delay, status.RetryAfter), true
	}
	if refusal, ok := errors.AsType[*client.Refusal](err); ok {
		// After a lost connection, the server may count the old one until it
		// times out.
		return delay, refusal.Code == "unavailable" || l.connected && refusal.Code == "too_many_connections"
	}
	for _, last := range []error{client.ErrDisconnected, client.ErrProtocol, client.ErrTooLarge, errNoOutput} {
		if errors.Is(err, last) {
			return 0, false
		}
	}
	return delay, l.connected
}

// noteWait prints why there is no connection, and when the next attempt is.
func (l *listener) noteWait(err error, delay time.Duration) {
	text := "disconnected: %s; reconnecting in %s"
	if !l.connected {
		text = "not connected: %s; trying again in %s"
	}
	l.note(text, err, delay.Round(100*time.Millisecond))
}

func (l *listener) note(format string, a ...any) {
	note(l.notes, format, a...)
}
