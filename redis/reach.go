package redis

import (
	"context"
	"errors"

	"github.com/caddyserver/caddy/v2"
	"github.com/redis/rueidis"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"go.uber.org/zap"
)

// Open implements hub.Opener. A start of Caddy does not need Redis: without it, nothing is
// published, but apps and keys may be known, and other sites do not depend on it. A reload
// does, because its predecessor can go on.
func (b *Broker) Open(logger *zap.Logger) (hub.Broker, error) {
	opened := newBroker(&b.Server, logger)
	if err := opened.reach(); err != nil {
		if !unreachable(err) || reloading() {
			return nil, err
		}
		opened.away.Store(whyAway(err))
		logger.Warn("redis cannot be reached: publishes are refused until it is", zap.Error(err))
	}
	return opened, nil
}

// reloading reports whether a configuration runs.
func reloading() bool { return caddy.ActiveContext().Context != nil }

// reach connects to Redis for the first time. Open calls it, and later only watch.
func (b *broker) reach() error {
	client, err := b.server.connect(func(o *rueidis.ClientOption) {
		// A script whose answer was lost may have run: nothing is sent twice.
		o.DisableRetry = true
		o.ConnWriteTimeout = requestTimeout
	})
	if err != nil {
		return err
	}
	if err := b.server.inspect(client, b.log, false); err != nil {
		client.Close()
		return b.server.explain(err)
	}
	b.client = client
	close(b.reached)
	return nil
}

var errNotReached = errors.New("it has not been reached since this machine started")

// connection returns the client, or an error while Redis was not reached yet.
func (b *broker) connection() (rueidis.Client, error) {
	select {
	case <-b.reached:
		return b.client, nil
	default:
		return nil, errNotReached
	}
}

// do runs a command.
func (b *broker) do(ctx context.Context, command func(rueidis.Builder) rueidis.Completed) rueidis.RedisResult {
	client, err := b.connection()
	if err != nil {
		return rueidis.NewErrorResult(err)
	}
	return client.Do(ctx, command(client.B()))
}
