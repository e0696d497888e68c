package redis

import (
	"context"
	"slices"
	"sync"

	"github.com/redis/rueidis"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"go.uber.org/zap"
)

// maxQueue bounds an app's queue of received messages, in bytes. When it is exceeded, the
// queue is forgotten, and the app catches up from the streams, which can be shorter.
const maxQueue = 64 << 20

// An app delivers the messages of one app, in the order of their offsets.
type app struct {
	broker *broker
	id     string
	base   string // begins the names of its keys
	sender sender
	relays relays
	window uint64 // how many messages catchUp reads at once; of the worker

	mu      sync.Mutex // guards everything below; locked after a lane's
	subs    map[string]*subscription
	known   hub.Position // the newest that this machine has heard of
	left    []string     // epochs before that of the last delivery, the latest last; see moveTo
	at      hub.Position // the last message that was delivered or passed over
	doubted hub.Position // the last message that the app has caught up for, see doubt
	queue   []item       // in the order of the connection, which is that of offsets
	bytes   int          // of queue, see item.size
	up      bool         // the lane is connected, and subscribed to all of subs
	behind  bool         // messages that are not in queue may be missing
	breaks  uint64       // how often messages may have been lost between Redis and queue
	working bool         // work runs
}

// An item is a message as it was received, or the history of a channel at its place
// among them.
type item struct {
	sub  *subscription
	text string
	fill *filling // nil for a message
}

// size returns what the item takes in memory, in bytes.
func (i *item) size() int { return 32 + len(i.text) }

// exec runs a script that uses keys of the app which it does not name.
func (a *app) exec(ctx context.Context, script *rueidis.Lua, args ...string) rueidis.RedisResult {
	return a.broker.exec(ctx, script, a.keys(), args...)
}

// write is exec, within ctx, for changes that must be as durable as the configuration says.
func (a *app) write(ctx context.Context, script *rueidis.Lua, args ...string) (result rueidis.RedisResult) {
	client, err := a.broker.connection()
	if err != nil {
		return rueidis.NewErrorResult(err)
	}
	_ = patiently(ctx, func() error {
		result = a.broker.server.write(ctx, client, script, a.keys(), args)
		return result.Error()
	})
	return result
}

func (a *app) keys() []string { return []string{a.positionKey(), absentKey(a.base)} }

// lastKnown returns the newest position that this machine has heard of.
func (a *app) lastKnown() hub.Position {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.known
}

// learn notes a position that Redis has given.
func (a *app) learn(p hub.Position) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p.Epoch != a.known.Epoch || p.Offset > a.known.Offset {
		a.known = p
	}
}

func (a *app) add(s *subscription, up bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.subs[s.channel] = s
	a.up = up
}

func (a *app) remove(channel string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.subs, channel)
}

// push queues a message. It does not block, because the connection waits for it.
func (a *app) push(i item) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.bytes+i.size() > maxQueue {
		cancelFills(append(a.queue, i))
		a.queue, a.bytes, a.behind = nil, 0, true
		a.breaks++
	} else {
		a.queue = append(a.queue, i)
		a.bytes += i.size()
	}
	a.start()
}

// suspend stops the deliveries once what is queued has been delivered.
func (a *app) suspend() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.up, a.behind = false, true
	a.breaks++
}

// resume has the app catch up.
func (a *app) resume() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.up = true
	a.start()
}

// start starts the worker unless it runs. The caller holds mu, and is counted in the
// broker's work itself.
func (a *app) start() {
	if !a.working {
		a.working = true
		a.broker.work.Go(a.run)
	}
}

// run is the worker: it ends when there is nothing to do.
func (a *app) run() {
	for {
		queue, behind := a.next()
		switch {
		case behind:
			err := a.catchUp()
			if err == nil && a.broker.shared() != nil {
				err = a.refreshAll()
			}
			if err != nil {
				a.fail(err)
			}
		case queue == nil:
			return
		default:
			a.deliverAll(queue)
		}
	}
}

// next returns what is to be done: to catch up, or to deliver what is queued.
func (a *app) next() (queue []item, behind bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.broker.ctx.Err() != nil, a.behind && !a.up, !a.behind && len(a.queue) == 0:
		a.working = false
	case a.behind:
		a.behind = false
		return nil, true
	default:
		queue = a.queue
		a.queue, a.bytes = nil, 0
	}
	return queue, false
}

// fail has the worker try again to catch up.
func (a *app) fail(err error) {
	a.mu.Lock()
	a.behind = true
	a.mu.Unlock()
	if a.broker.ctx.Err() == nil { // while Cluster moves the app's slot, too
		a.broker.stuck.Log(a.broker.log.Warn, "cannot read what was missed", zap.String("app", a.id), zap.Error(a.broker.server.explain(err)))
	}
	_ = sleep(a.broker.ctx, minPause)
}

// deliverAll delivers messages as they came.
func (a *app) deliverAll(queue []item) {
	for i, it := range queue {
		if a.broker.ctx.Err() != nil {
			return
		}
		if it.fill != nil {
			a.finishFill(it.sub, it.fill)
			continue
		}
		if isNotice(it.text) {
			a.takeNotice(it.sub, it.text)
			continue
		}
		if isRelayed(it.text) {
			a.takeRelayed(it.sub, it.text)
			continue
		}
		e, err := readHeader(it.text)
		if err != nil {
			a.unreadable(err)
			continue
		}
		if !a.deliver(it.sub, &e, true) {
			a.putBack(queue[i:])
			return
		}
	}
}

// putBack queues messages again, and has the app catch up.
func (a *app) putBack(rest []item) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queue = append(slices.Clip(rest), a.queue...)
	a.bytes = 0
	for i := range a.queue {
		a.bytes += a.queue[i].size()
	}
	a.behind = true
}

// deliver delivers a message, unless that has been done. It returns false if fill is
// set and messages before it are missing that may be in their stream.
func (a *app) deliver(s *subscription, e *envelope, fill bool) bool {
	a.mu.Lock()
	if e.Offset <= offsetIn(e.Epoch, a.at) || a.subs[s.channel] != s {
		a.mu.Unlock()
		return true
	}
	lost := s.filled && e.before > s.reached(e.Epoch)
	if lost && fill && e.before > offsetIn(e.Epoch, a.at) && a.doubt(e.Position) {
		a.mu.Unlock()
		return false
	}
	moved := a.moveTo(e.Epoch)
	a.at = e.Position
	if e.Epoch != a.known.Epoch || e.Offset > a.known.Offset {
		a.known = e.Position
	}
	m, err := e.message(a.id, s.channel)
	early := !s.filled
	if early {
		if err != nil {
			m = &hub.Message{Position: e.Position} // the history begins after it
		}
		if !s.tooEarly() {
			s.early, s.earlyBytes = append(s.early, m), s.earlyBytes+len(m.Data)
		}
	} else if err != nil || !m.NoHistory {
		s.last = e.Position
	}
	a.mu.Unlock()
	a.announce(moved, e.Epoch)
	switch {
	case err != nil:
		a.unreadable(err)
		a.broker.handler.Lost(a.id, s.channel, e.Position)
		return true
	case lost:
		a.tellLost(s.channel, hub.Position{Epoch: e.Epoch, Offset: e.before})
	}
	if !early {
		a.broker.handler.Deliver(m).Flush()
	}
	return true
}

// doubt reports whether the app is to catch up before a message is delivered, because those
// before it are missing. If Redis still does not know of it after that, it has lost it:
// standing begins a new epoch then. One of another epoch is delivered. The caller holds mu.
func (a *app) doubt(p hub.Position) bool {
	if a.doubted != p {
		a.doubted = p
		return true
	}
	if p.Epoch != a.at.Epoch || p.Offset <= offsetIn(p.Epoch, a.known) {
		return false
	}
	a.known = p
	return true
}

// unreadable logs that a message cannot be read.
func (a *app) unreadable(err error) {
	a.broker.seldom.Log(a.broker.log.Error, "a message is unreadable; clients that can recover begin again", zap.String("app", a.id), zap.Error(err))
}

// moveTo makes an epoch that of the app, and reports whether it had another one before.
// The caller holds mu.
func (a *app) moveTo(epoch string) (moved bool) {
	if a.at.Epoch == epoch {
		return false
	}
	if moved = a.at.Epoch != ""; moved {
		a.left = append(a.left[max(0, len(a.left)-maxLeft+1):], a.at.Epoch)
	}
	a.at = hub.Position{Epoch: epoch}
	return moved
}

// maxLeft bounds the epochs that a machine remembers.
const maxLeft = 4

// hasLeft reports whether an epoch must not go on.
func (a *app) hasLeft(epoch string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Contains(a.left, epoch)
}

// announce tells the hub and the log if the app has moved to a new epoch.
func (a *app) announce(moved bool, epoch string) {
	if moved {
		a.broker.log.Warn("redis has lost the app's messages, or a part of them; a new epoch has begun, and clients that can recover begin again",
			zap.String("app", a.id))
		a.broker.handler.Moved(a.id, epoch)
	}
}
