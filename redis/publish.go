package redis

import (
	"context"
	_ "embed"
	"errors"
	"strconv"
	"time"

	"github.com/redis/rueidis"
	"github.com/seed-c079cc48/caddy-realtime/hub"
)

//go:embed publish.lua
var publishSource string

// publishScript is run with EVALSHA, and sent if the server does not know it.
var publishScript = rueidis.NewLuaScript(publishSource)

// Publish implements hub.Broker.
func (b *broker) Publish(ctx context.Context, all []*hub.Message) error {
	_, err := b.Admit(ctx, all, hub.Terms{})
	return err
}

// Admit implements hub.Admitter. The messages come back from Redis in the same way as
// those of other machines, so that all deliver them in the same order. After an error of
// the connection, they may have been published all the same.
func (b *broker) Admit(ctx context.Context, all []*hub.Message, t hub.Terms) (hub.Outcome, error) {
	done, err := b.begin()
	if err != nil {
		return hub.Outcome{}, err
	}
	defer done()
	for _, m := range all {
		m.Subscribers = b.handler.Subscribers(m.App, m.Channel)
	}
	return b.app(all[0].App).publish(ctx, all, t)
}

// publish publishes messages of the app, and sets their positions. With no message, it
// only begins a new epoch if one is needed.
func (a *app) publish(ctx context.Context, all []*hub.Message, t hub.Terms) (o hub.Outcome, err error) {
	if a.broker.away.Load() {
		return o, a.broker.server.explain(errAway)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	known := a.lastKnown()
	args := make([]string, 4, 9+5*len(all))
	args[0], args[1], args[2], args[3] = a.base, a.newEpoch(), known.Epoch, strconv.FormatUint(known.Offset, 10)
	args = appendTerms(args, all, t)
	for _, m := range all {
		keep, skip := m.Keep.Messages, "0"
		if m.NoHistory {
			keep, skip = 0, "1"
		}
		if m.Keep.Age.Milliseconds() <= 0 {
			keep = 0
		}
		args = append(args, m.Channel, encodeBody(m), strconv.Itoa(max(0, keep)), strconv.FormatInt(max(0, m.Keep.Age.Milliseconds()), 10), skip)
	}
	began := time.Now()
	answer, err := a.write(ctx, publishScript, args...).AsStrSlice()
	a.broker.measures.published(began)
	if err != nil {
		return o, a.broker.server.explain(err)
	}
	o.Rate, err = readRate(answer, t)
	if err != nil {
		return o, err
	}
	switch answer[0] {
	case "limited":
		return o, hub.ErrRateLimited
	case "mismatch":
		return o, hub.ErrIdempotencyMismatch
	case "replayed":
		o.Replayed = true
		return o, hub.Replay(answer[1], all)
	}
	at, err := readPosition(answer[1:3])
	if err != nil {
		return o, err
	}
	for _, m := range all {
		at.Offset++
		m.Position = at
	}
	a.learn(at)
	return o, nil
}

var errPosition = errors.New("redis has something else than the position of an app; keys with this prefix belong to the broker alone")

// readPosition reads epoch and offset; both are empty if nothing was published yet.
func readPosition(answer []string) (p hub.Position, err error) {
	if len(answer) != 2 {
		return p, errPosition
	}
	if answer[0] == "" && answer[1] == "" {
		return p, nil
	}
	offset, err := strconv.ParseUint(answer[1], 10, 64)
	if err != nil || answer[0] == "" {
		return p, errPosition
	}
	return hub.Position{Epoch: answer[0], Offset: offset}, nil
}
