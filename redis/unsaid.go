package redis

import (
	"context"

	"github.com/redis/rueidis"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"go.uber.org/zap"
)

// readLatest returns the offsets of the channels' latest messages, apart from those that
// are never kept. An offset is 0 if Redis does not know it, or no longer.
func (a *app) readLatest(ctx context.Context, subs []*subscription, epoch string) (all []uint64, err error) {
	c := a.broker.client
	err = a.readEach(ctx, subs, func(s *subscription) rueidis.Completed {
		return c.B().Get().Key(a.placeKey(epoch, s.channel)).Build()
	}, func(_ *subscription, answer rueidis.RedisResult) error {
		offset, err := answer.AsUint64()
		if rueidis.IsRedisNil(err) {
			err = nil
		}
		all = append(all, offset)
		return err
	})
	return all, err
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
	if latest.Offset <= s.reached(to.Epoch) || latest.Offset > to.Offset || a.subs[s.channel] != s {
		return false
	}
	s.last = latest
	return true
}

// tellLost tells the hub that messages of a channel, up to a position, are lost.
func (a *app) tellLost(channel string, at hub.Position) {
	a.broker.measures.lost.Add(1)
	a.broker.losses.Log(a.broker.log.Error,
		"messages were lost between redis and this machine: they are no longer kept; clients that can recover begin again",
		zap.String("app", a.id))
	a.broker.handler.Lost(a.id, channel, at)
}
