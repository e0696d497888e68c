package redis

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/zap"
)

const (
	// probeInterval is how often a connection gets a message of its own. One that has
	// not come back by the next time shows a subscription that is dead, although its
	// connection is alive.
	probeInterval = 5 * time.Second

	// Pauses between attempts to connect.
	minPause = 50 * time.Millisecond
	maxPause = 500 * time.Millisecond

	// subscribeChunk bounds the channels in one command.
	subscribeChunk = 500
)

// A lane is a connection that gets the messages of some apps, or of the machines: all in
// one slot, because Cluster's pub/sub serves one slot a connection. It lasts until the broker is closed.
type lane struct {
	broker *broker
	name   string        // begins all names
	echoed atomic.Uint64 // probes that came back

	register *register

	// listen has functions that get the messages of further channels. They do not
	// block. It is not changed once the lane runs.
	listen map[string]func(message string)

	mu      sync.Mutex // guards everything below; locked before an app's
	subs    map[string]*subscription
	conn    rueidis.DedicatedClient // nil while not connected
	changed chan struct{}           // closed when conn is set
}

// lane returns the lane of an app, and starts it if necessary. The caller has begun.
func (b *broker) lane(app string) *lane {
	i := laneOf(app)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lanes[i] == nil {
		b.lanes[i] = b.newLane(laneName(b.prefix, i))
		b.work.Go(b.lanes[i].run)
		b.work.Go(b.lanes[i].register.run)
	}
	return b.lanes[i]
}

// newLane returns a lane that does not run yet.
func (b *broker) newLane(name string) *lane {
	l := &lane{broker: b, name: name, subs: make(map[string]*subscription), changed: make(chan struct{})}
	l.register = &register{broker: b, lane: l, wake: make(chan struct{}, 1), changed: make(map[place]struct{})}
	return l
}

// run connects again and again until the broker is closed.
func (l *lane) run() {
	select {
	case <-l.broker.reached:
	case <-l.broker.ctx.Done():
		return
	}
	pause := minPause
	for {
		began := time.Now()
		err := l.serve()
		if l.broker.ctx.Err() != nil {
			return
		}
		l.broker.measures.reconnects.Add(1)
		l.broker.ends.Log(l.broker.log.Warn, "connection lost; subscribing again", zap.String("lane", l.name), zap.Error(l.broker.server.explain(err)))
		if time.Since(began) > maxPause {
			pause = minPause
		}
		if sleep(l.broker.ctx, pause/2+rand.N(pause)) != nil { //nolint:gosec // spreads load
			return
		}
		pause = min(2*pause, maxPause)
	}
}

var errUnsubscribed = errors.New("the server has ended a subscription")

// serve connects, subscribes to all channels, and returns why the connection ended.
func (l *lane) serve() error {
	conn, release := l.broker.client.Dedicate()
	defer release()
	ended := make(chan error, 1) // the first reason to end that the hooks see
	lost := conn.SetPubSubHooks(rueidis.PubSubHooks{
		OnMessage: l.receive,
		OnSubscription: func(s rueidis.PubSubSubscription) {
			if s.Kind == "sunsubscribe" && (l.find(s.Channel) != nil || l.listen[s.Channel] != nil) {
				select {
				case ended <- errUnsubscribed:
				default:
				}
			}
		},
	})
	err := l.subscribeAll(conn)
	if err == nil {
		l.resume(conn)
		err = l.watch(lost, ended)
	}
	conn.Close()
	for more := range lost { // then no message of this connection is to come
		if err == nil {
			err = more
		}
	}
	l.suspend()
	return err
}

// subscribeAll subscribes to the probe's channel and to all others.
func (l *lane) subscribeAll(conn rueidis.DedicatedClient) error {
	names := append(slices.Collect(maps.Keys(l.listen)), l.name+l.broker.probe)
	l.mu.Lock()
	for name := range l.subs {
		names = append(names, name)
	}
	l.mu.Unlock()
	for len(names) > 0 {
		n := min(len(names), subscribeChunk)
		if err := l.do(conn, conn.B().Ssubscribe().Channel(names[:n]...).Build()); err != nil {
			return err
		}
		names = names[n:]
	}
	return nil
}

func (l *lane) do(conn rueidis.DedicatedClient, command rueidis.Completed) error {
	ctx, cancel := context.WithTimeout(l.broker.ctx, requestTimeout)
	defer cancel()
	return conn.Do(ctx, command).Error()
}

// watch returns once the connection is of no use any longer.
func (l *lane) watch(lost, ended <-chan error) error {
	ticker := time.NewTicker(probeInterval)
	defer ticker.Stop()
	var sent uint64 // probes that Redis has accepted, since the connection began
	l.echoed.Store(0)
	for {
		select {
		case err := <-lost:
			return err
		case err := <-ended:
			return err
		case <-l.broker.ctx.Done():
			return l.broker.ctx.Err()
		case <-ticker.C:
			if l.echoed.Load() < sent {
				return errSilent
			}
			// Through the client that publishes: it is where the messages are.
			ctx, cancel := context.WithTimeout(l.broker.ctx, requestTimeout)
			c := l.broker.client
			err := c.Do(ctx, c.B().Spublish().Channel(l.name+l.broker.probe).Message(l.broker.clock()).Build()).Error()
			cancel()
			if err == nil {
				sent++
			}
		}
	}
}

var errSilent = errors.New("a subscription is silent")

// receive takes a message from the connection. It does not block.
func (l *lane) receive(m rueidis.PubSubMessage) {
	if s := l.find(m.Channel); s != nil {
		s.app.push(item{sub: s, text: m.Message})
	} else if f := l.listen[m.Channel]; f != nil {
		f(m.Message)
	} else if strings.HasSuffix(m.Channel, l.broker.probe) {
		l.broker.measures.echoed(l.broker.began, m.Message)
		l.echoed.Add(1)
	}
}

func (l *lane) find(name string) *subscription {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.subs[name]
}

// all returns the subscriptions.
func (l *lane) all() []*subscription {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Values(l.subs))
}

// resume has the apps catch up, once all is subscribed to.
func (l *lane) resume(conn rueidis.DedicatedClient) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = conn
	close(l.changed)
	if l.broker.shared() != nil {
		l.register.doubt() // Redis may have failed over
	}
	for _, s := range l.subs {
		s.app.resume()
	}
}

// suspend has the apps wait, because messages may be missing.
func (l *lane) suspend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		l.conn, l.changed = nil, make(chan struct{})
	}
	for _, s := range l.subs {
		s.app.suspend()
	}
}

// current returns the connection, or nil while there is none.
func (l *lane) current() rueidis.DedicatedClient {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn
}

// await returns the connection, and waits for one if there is none.
func (l *lane) await(ctx context.Context) (rueidis.DedicatedClient, error) {
	for {
		l.mu.Lock()
		conn, changed := l.conn, l.changed
		l.mu.Unlock()
		if conn != nil {
			return conn, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
