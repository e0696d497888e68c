package redis

import (
	"context"
	_ "embed"
	"errors"
	"slices"
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

// maxRequestBytes bounds the data of messages that are published together, all copies
// counted. Redis sends it to each machine, cuts off those that cannot read it within
// its limit for subscribers (32 MB by default), and answers nobody else meanwhile.
const maxRequestBytes = 16 << 20

// Admit implements hub.Admitter. The messages come back from Redis in the same way as
// those of other machines, so that all deliver them in the same order. After an error of
// the connection, they may have been published all the same.
func (b *broker) Admit(ctx context.Context, all []*hub.Message, t hub.Terms) (hub.Outcome, error) {
	size := 0
	for _, m := range all {
		size += len(m.Data)
	}
	if len(all) > 1 && size > maxRequestBytes {
		return hub.Outcome{}, &hub.TooLargeError{Size: size, Limit: maxRequestBytes}
	}
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

// offsetTime is how long the offset of a channel's last message is kept, at least: longer
// than a machine is cut off, and still tries to fill the gap; and by a minute longer than
// the hour that fill.lua counts on, because its marks are in whole seconds, and a server
// that takes over has another clock.
const offsetTime = time.Hour + time.Minute

// A kind is what messages have in common for publish.lua.
type kind struct {
	keep int   // how many messages of a channel are kept; 0 for none of this kind
	age  int64 // for how many milliseconds
	skip bool  // it is not part of the history
}

func kindOf(m *hub.Message) kind {
	k := kind{max(0, m.Keep.Messages), max(0, m.Keep.Age.Milliseconds()), m.NoHistory}
	if k.skip || k.age == 0 {
		k.keep = 0
	}
	return k
}

// append appends a kind's arguments of publish.lua.
func (k kind) append(args []string) []string {
	skip := "0"
	if k.skip {
		skip = "1"
	}
	ttl := k.age + min(k.age/4, 60_000) // so it is not set each time
	return append(
		args, strconv.Itoa(k.keep), strconv.FormatInt(k.age, 10), strconv.FormatInt(ttl, 10),
		strconv.FormatInt(max(offsetTime.Milliseconds(), ttl), 10), skip)
}

// publishArgs returns the arguments of publish.lua for publications.
func (a *app) publishArgs(together []*publication) []string {
	var kinds []kind // few: those of the app's rules
	messages := 0
	for _, p := range together {
		messages += len(p.all)
		for _, m := range p.all {
			if k := kindOf(m); !slices.Contains(kinds, k) {
				kinds = append(kinds, k)
			}
		}
	}
	known := a.lastKnown()
	args := make([]string, 0, 8+5*len(kinds)+4*len(together)+3*messages)
	args = append(args, a.base, a.leftEpochs(""), known.Epoch, strconv.FormatUint(known.Offset, 10))
	args = appendLimit(args, together[0].terms)
	args = append(args, strconv.Itoa(messages), strconv.Itoa(len(kinds)))
	for _, k := range kinds {
		args = k.append(args)
	}
	for _, p := range together {
		args = append(args, strconv.Itoa(len(p.all)))
		args = appendKey(args, p.all, p.terms)
		for i, m := range p.all {
			args = append(args, strconv.Itoa(1+slices.Index(kinds, kindOf(m))), m.Channel, p.bodies[i])
		}
	}
	return args
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
