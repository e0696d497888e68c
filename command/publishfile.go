package command

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/message"
)

// A filePublisher publishes the lines of a file, in their order and in batches.
type filePublisher struct {
	sender publishSender
	name   string // of the file, for errors
	key    string // the idempotency key of a batch is this and its first line's number
	notes  *progress

	// maxLines and maxBytes bound a batch. They shrink when the gateway refuses
	// one.
	maxLines, maxBytes int

	// idle is how long a batch that is not full waits for the next line.
	idle  time.Duration
	retry retryPolicy

	skipped     int // lines
	done        int // lines that are published, or were skipped
	messages    int // that are published
	subscribers int // for which they were queued, in total
	lastID      string
}

// Bounds of a batch: messages of one request, and the default max_body.
const (
	maxBatchLines = 100
	maxBatchBytes = 1 << 20
)

// publishFile publishes the lines of the file that the flags name.
func publishFile(cmd *cobra.Command, fl caddycmd.Flags, sender publishSender) error {
	skip := fl.Int("skip")
	if skip < 0 {
		return fmt.Errorf("--skip %d is negative", skip)
	}
	p := newFilePublisher(sender, fl.String("file"), skip, newProgress(cmd.ErrOrStderr()))
	if key := fl.String("idempotency-key"); key != "" {
		p.key = key
	}
	input := cmd.InOrStdin()
	if p.name == "-" {
		p.name = "stdin"
	} else {
		file, err := os.Open(p.name)
		if err != nil {
			return err
		}
		defer file.Close()
		input = file
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process
	if err := p.run(ctx, input); err != nil {
		return err
	}
	if !fl.Bool("json") {
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%d messages\t%d subscribers\n", p.messages, p.subscribers)
		return err
	}
	result, err := text.JSON(map[string]any{"lines": p.done, "messages": p.messages, "subscribers": p.subscribers, "last_id": p.lastID})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), visible(string(result)))
	return err
}

func newFilePublisher(sender publishSender, name string, skip int, notes *progress) *filePublisher {
	return &filePublisher{
		sender: sender, name: name, key: rand.Text(), notes: notes,
		maxLines: maxBatchLines, maxBytes: maxBatchBytes, idle: time.Second, retry: defaultRetries(),
		skipped: skip, done: skip,
	}
}

// run publishes everything. Its error says how far it came and how to go on.
func (p *filePublisher) run(ctx context.Context, input io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := make(chan line)
	go readLines(ctx, input, p.skipped, lines) // a blocked read ends with the process
	err := p.publish(ctx, lines)
	p.notes.clear()
	if err == nil {
		return nil
	}
	return p.stopped(err)
}

func (p *filePublisher) publish(ctx context.Context, lines <-chan line) error {
	var batch []line
	flush := func() error {
		err := p.send(ctx, batch)
		batch = nil
		return err
	}
	for {
		var idle <-chan time.Time
		if len(batch) > 0 {
			idle = time.After(p.idle)
		}
		select {
		case <-ctx.Done():
			return errInterrupted
		case <-idle:
			if err := flush(); err != nil {
				return err
			}
		case next := <-lines:
			if errors.Is(next.err, io.EOF) {
				if err := flush(); err != nil {
					return err
				}
				p.done = next.number - 1
				return nil
			}
			if len(batch) > 0 && bodySize(batch)+1+len(next.text) > p.maxBytes {
				if err := flush(); err != nil {
					return err
				}
			}
			if err := next.check(); err != nil {
				return p.at(next.number, err)
			}
			if batch = append(batch, next); len(batch) < p.maxLines {
				continue
			}
			if err := flush(); err != nil {
				return err
			}
		}
	}
}

// check returns an error unless the line is one message.
func (l line) check() error {
	if l.err != nil {
		return l.err
	}
	decoded, err := message.Decode(l.text)
	switch {
	case err != nil:
		return errors.New(apierr.As(err).Message)
	case decoded.Several != nil:
		return errors.New(`it has "channels" or "messages"; give each line one "channel", or a "user"`)
	}
	return nil
}

// send publishes a batch, in parts if it is too much for the gateway.
func (p *filePublisher) send(ctx context.Context, batch []line) error {
	if len(batch) == 0 {
		return nil
	}
	body := bodyOf(batch)
	key := p.key + ":" + strconv.Itoa(batch[0].number)
	answer, failure := p.sendOften(ctx, body, key, len(batch))
	last := batch[len(batch)-1].number
	switch {
	case failure == nil:
		p.done = last
		p.messages += len(batch)
		for _, receipt := range answer.receipts {
			p.subscribers += receipt.Subscribers
			p.lastID = receipt.ID
		}
		p.notes.show("%s: %d lines, %d messages published", p.name, p.done, p.messages)
		return nil
	case len(batch) > 1 && failure.tooMuch():
		half := len(batch) / 2
		if failure.status == http.StatusRequestEntityTooLarge {
			p.maxBytes = min(p.maxBytes, len(body)/2)
		} else {
			p.maxLines = half
		}
		if err := p.send(ctx, batch[:half]); err != nil {
			return err
		}
		return p.send(ctx, batch[half:])
	case failure.index != nil && *failure.index >= 0 && *failure.index < len(batch):
		return p.at(batch[*failure.index].number, errors.New(strings.TrimPrefix(failure.Error(), fmt.Sprintf("messages[%d]: ", *failure.index))))
	case len(batch) == 1 && !failure.again && failure.status >= 400 && !failure.published:
		return p.at(last, failure)
	case failure.published:
		return fmt.Errorf("%w. Lines %d to %d may have been published; within 5 minutes, the same key keeps them from being published again",
			failure, batch[0].number, last)
	}
	return failure
}

// tooMuch reports whether a part of the batch may be accepted: a gateway that has
// a lower max_body, an app with a rate limit below the size of the batch, or an
// old gateway, which takes one message in a request.
func (f *publishFailure) tooMuch() bool {
	return f.index == nil && !f.published && (f.status == http.StatusRequestEntityTooLarge || f.status == http.StatusBadRequest)
}

// at adds the place to an error.
func (p *filePublisher) at(line int, err error) error {
	return fmt.Errorf("%s:%d: %w", p.name, line, err)
}

// maxCause bounds what comes before the way to go on, in bytes.
const maxCause = 2 << 10

// stopped says how far it came and how to go on.
func (p *filePublisher) stopped(err error) error {
	cause := err.Error()
	if len(cause) > maxCause {
		cause = cause[:maxCause] + "…"
	}
	cause = strings.TrimRight(cause, ".")
	published := "Nothing is published"
	if p.done > p.skipped {
		published = fmt.Sprintf("%d messages are published, up to line %d", p.messages, p.done)
	}
	return fmt.Errorf("%s. %s. To go on: --skip %d --idempotency-key '%s'", cause, published, p.done, p.key)
}

// bodyOf returns the request's body for a batch. A single line is a body of its
// own.
func bodyOf(batch []line) []byte {
	if len(batch) == 1 {
		return batch[0].text
	}
	texts := make([][]byte, len(batch))
	for i, l := range batch {
		texts[i] = l.text
	}
	return slices.Concat([]byte(bodyBegin), bytes.Join(texts, []byte(",")), []byte(bodyEnd))
}

// bodySize returns the size of a body for a batch of several lines.
func bodySize(batch []line) int {
	size := len(bodyBegin) + len(bodyEnd) - 1
	for _, l := range batch {
		size += len(l.text) + 1
	}
	return size
}

const (
	bodyBegin = `{"messages":[`
	bodyEnd   = `]}`
)
