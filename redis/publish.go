package redis

import (
	"context"
	_ "embed"
	"errors"
	"strconv"

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
	return b.app(all[0].App).sender.publish(ctx, newPublication(all, t))
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
