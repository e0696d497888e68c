package redis

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/redis/rueidis"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"go.uber.org/zap"
)

// readLatest returns the offsets of the channels' latest messages, apart from those that
// are never kept. An offset is 0 if Redis does not know it, or no longer.
func (a *app) readLatest(ctx context.Context, subs []*subscription, epoch string) (all []uint64, err error) {
	for chunk := range slices.Chunk(subs, readChunk) {
		ctx, cancel := context.WithTimeout(ctx, requestTimeout)
		c := a.broker.client
		commands := make([]rueidis.Completed, len(chunk))
		for i, s := range chunk {
			commands[i] = c.B().Get().Key(a.placeKey(epoch, s.channel)).Build()
		}
		for _, answer := range c.DoMulti(ctx, commands...) {
			text, failed := answer.ToString()
			var offset uint64
			if failed == nil {
				offset, failed = strconv.ParseUint(text, 10, 64)
			}
			if !rueidis.IsRedisNil(failed) {
				err = errors.Join(err, failed)
			}
			all = append(all, offset)
		}
		cancel()
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// tellUnsaid tells the hub of which channels there were messages, up to a position, that
// were neither received nor in their streams. Their next messages would say so, but there
// may be none for long.
func (a *app) tellUnsaid(subs []*subscription, latest []uint64, to hub.Position) {
	for i, s := range subs {
		if at := (hub.Position{Epoch: to.Epoch, Offset: latest[i]}); a.skipTo(s, at, to) {
			a.tellLost(s.channel, at)
		}
	}
}

// skipTo reports whether a channel's latest message was not delivered and will not be, and
// notes that. What comes after the position to is still to be received.
func (a *app) skipTo(s *subscription, latest, to hub.Position) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	known := max(offsetIn(to.Epoch, s.since), offsetIn(to.Epoch, s.last))
	if latest.Offset <= known || latest.Offset > to.Offset || a.subs[s.channel] != s {
		return false
	}
	s.last = latest
	return true
}

// tellLost tells the hub that messages of a channel, up to a position, are lost.
func (a *app) tellLost(channel string, at hub.Position) {
	a.broker.measures.lost.Add(1)
	if suppressed, ok := a.broker.losses.Allow(); ok {
		a.broker.log.Error("messages were lost between redis and this machine: they are no longer kept; clients that can recover begin again",
			zap.String("app", a.id), zap.Int64("suppressed", suppressed))
	}
	a.broker.handler.Lost(a.id, channel, at)
}
