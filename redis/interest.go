package redis

import (
	"cmp"
	"context"

	"github.com/redis/rueidis"
	"github.com/seed-c079cc48/caddy-realtime/hub"
)

// A subscription is a channel that the hub is interested in.
type subscription struct {
	app     *app
	channel string

	// Guarded by app.mu.
	since      hub.Position   // where the app stood when the hub got the channel's history
	last       hub.Position   // the newest message of the history that was delivered since
	filled     bool           // the hub has got the history
	early      []*hub.Message // received before that
	news       []notice       // likewise
	earlyBytes int            // of their data

	copy rosterCopy // of the channel's members
}

// tooEarly reports whether so much waits for the history that it must be read again. The
// caller holds app.mu.
func (s *subscription) tooEarly() bool {
	return len(s.early)+len(s.news) > maxEarly || s.earlyBytes > maxEarlyBytes
}

// reached returns the offset up to which the hub has got the channel's history in an
// epoch. The caller holds app.mu.
func (s *subscription) reached(epoch string) uint64 {
	return max(offsetIn(epoch, s.since), offsetIn(epoch, s.last))
}

// Interest implements hub.Interested.
func (b *broker) Interest(ctx context.Context, id, channel string, on bool) error {
	ctx, done, err := b.beginWithin(ctx, requestTimeout)
	if err != nil {
		return err
	}
	defer done()
	a, l := b.app(id), b.lane(id)
	name := a.pubsubName(channel)
	if !on {
		l.remove(name, channel)
		l.occupied(id, channel)
		l.unsubscribe(ctx, name)
		return nil
	}
	s := &subscription{app: a, channel: channel}
	l.add(name, s)
	l.occupied(id, channel)
	if err := l.subscribe(ctx, name, s); err != nil {
		l.remove(name, channel)
		l.occupied(id, channel)
		// Before it returns, because the next call may subscribe again. ctx may have ended.
		l.unsubscribe(b.ctx, name) //nolint:contextcheck // see above
		return b.server.explain(err)
	}
	return nil
}

// Sync implements hub.Interested.
func (b *broker) Sync(ctx context.Context, id string) error {
	ctx, done, err := b.beginWithin(ctx, requestTimeout)
	if err != nil {
		return err
	}
	defer done()
	a := b.app(id)
	return b.server.explain(b.lane(id).persist(ctx, func(conn rueidis.DedicatedClient) (done bool, err error) {
		f := a.expectFill(nil)
		if f.at, err = positionIn(conn.Do(ctx, a.position(conn))); err != nil {
			return false, err
		}
		return a.fill(ctx, nil, f)
	}))
}

// stand tells the hub where the app stands.
func (a *app) stand(f *filling) {
	a.mu.Lock()
	settled, at := a.settle(f), a.at
	a.mu.Unlock()
	if settled {
		a.broker.handler.Stand(a.id, at)
	}
	f.done <- settled
}

func (l *lane) add(name string, s *subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.subs[name] = s
	s.app.add(s, l.conn != nil)
}

func (l *lane) remove(name, channel string) {
	l.mu.Lock()
	s := l.subs[name]
	if s != nil {
		delete(l.subs, name)
		s.app.remove(channel)
	}
	l.mu.Unlock()
	if s != nil {
		s.end()
	}
}

// subscribe returns once the hub has the channel's history, and the connection that is
// there afterwards has the subscription.
func (l *lane) subscribe(ctx context.Context, name string, s *subscription) error {
	return l.persist(ctx, func(conn rueidis.DedicatedClient) (done bool, err error) {
		f := s.app.expectFill(s)
		answers := conn.DoMulti(ctx, conn.B().Ssubscribe().Channel(name).Build(), s.app.position(conn))
		if err := answers[0].Error(); err != nil {
			return false, err
		}
		if f.at, err = positionIn(answers[1]); err != nil {
			return false, err
		}
		return s.app.fill(ctx, s, f)
	})
}

// persist tries something over the lane's connection until it is done, Redis refuses it
// or ctx ends.
func (l *lane) persist(ctx context.Context, try func(rueidis.DedicatedClient) (done bool, err error)) error {
	for {
		if err := l.broker.refusal(); answerOf(err) != "" && l.current() == nil {
			return err // no connection may come for a long time
		}
		conn, err := l.await(ctx)
		if err != nil {
			return err
		}
		done, err := try(conn)
		refused := answerOf(err) != ""
		switch {
		case done && err == nil:
			return nil
		case refused && !moving(err), ctx.Err() != nil:
			return cmp.Or(err, ctx.Err())
		case err != nil && !refused:
			err = l.left(ctx, conn)
		default:
			err = sleep(ctx, minPause)
		}
		if err != nil {
			return err
		}
	}
}

// left waits until a connection that has failed is no longer the lane's.
func (l *lane) left(ctx context.Context, conn rueidis.DedicatedClient) error {
	for l.current() == conn {
		if err := sleep(ctx, minPause); err != nil {
			return err
		}
	}
	return nil
}

// unsubscribe withdraws a subscription that the lane no longer has. If that fails, the
// server's messages are ignored until the next connection.
func (l *lane) unsubscribe(ctx context.Context, name string) {
	conn := l.current()
	if conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	// rueidis sends a PING of its own behind the command, and panics where the server answers
	// both with an error (BUSY), or that with one that it does not know (MISCONF).
	if conn.Do(ctx, conn.B().Ping().Build()).Error() == nil {
		_ = conn.Do(ctx, conn.B().Sunsubscribe().Channel(name).Build()).Error()
	}
}

// position asks for where the app stands. On the connection that gets the messages, all
// up to that position have been received when the answer is.
func (a *app) position(conn rueidis.DedicatedClient) rueidis.Completed {
	return conn.B().Hmget().Key(a.positionKey()).Field("e", "o").Build()
}

func positionIn(answer rueidis.RedisResult) (hub.Position, error) {
	fields, err := answer.AsStrSlice()
	if err != nil {
		return hub.Position{}, err
	}
	return readPosition(fields)
}
