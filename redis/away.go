package redis

import (
	"context"
	"errors"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"go.uber.org/zap"
)

// Redis is away if it has not answered a PING for pingTimeout; until it does, publishes
// are refused at once. Otherwise they would wait behind each other.
const (
	pingInterval = time.Second
	pingTimeout  = 3 * time.Second
	awayInterval = 100 * time.Millisecond
)

var errAway = errors.New("it does not answer")

// refusal returns why nothing can be published now.
func (b *broker) refusal() error {
	if b.ctx.Err() != nil {
		return hub.ErrStopped
	}
	if why := b.away.Load(); why != nil {
		return *why
	}
	return nil
}

// whyAway returns why publishes are refused after a ping with this error; nil if they are
// not. What Redis answers says more than that it is away, and that there is no connection
// to wait for.
func whyAway(err error) *error {
	switch {
	case err == nil:
		return nil
	case answerOf(err) != "":
		return &err
	}
	return new(errAway)
}

// watch asks again and again whether Redis answers, until the broker is closed.
func (b *broker) watch() {
	pause := pingInterval
	if b.away.Load() != nil { // since the start
		pause = awayInterval
	}
	for sleep(b.ctx, pause) == nil {
		err := b.ping()
		if b.ctx.Err() != nil {
			return
		}
		if was := b.away.Swap(whyAway(err)) != nil; was != (err != nil) {
			if err != nil {
				b.log.Warn("redis is away: publishes are refused, sockets stay", zap.Error(b.server.explain(err)))
			} else {
				b.log.Info("redis is back")
			}
		}
		pause = pingInterval
		if err != nil {
			pause = awayInterval
		}
	}
}

// ping returns an error unless Redis answers, and connects to it if it was never reached.
func (b *broker) ping() error {
	client, err := b.connection()
	if err != nil {
		err = b.reach()
		if err != nil && !unreachable(err) { // which would have refused the start
			b.refused.Log(b.log.Error, "redis cannot be used; publishes are refused until it can", zap.Error(err))
		}
		return err
	}
	ctx, cancel := context.WithTimeout(b.ctx, pingTimeout)
	defer cancel()
	return client.Do(ctx, client.B().Ping().Build()).Error()
}
