package hub_test

import (
	"bytes"
	"context"
	"runtime"
	"sync"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/lean"
)

// A network connects brokers that are as awkward as a broker is allowed to be:
// they deliver late, from a goroutine of their own, and only messages that a
// hub is interested in. Telling them about interest takes a while and can fail.
type network struct {
	fail func(on bool) error // decides whether an Interest fails; nil means that none does

	mu      sync.Mutex              // guards everything below
	last    map[string]hub.Position // by app
	brokers []*awkward
}

// An awkward broker belongs to one hub.
type awkward struct {
	net     *network
	handler hub.Handler
	worker  sync.WaitGroup

	mu         sync.Mutex // guards everything below
	changed    sync.Cond
	interested lean.Map[[2]string, bool]
	queue      []func() // what the worker does next
	busy       bool
	closed     bool
}

func (n *network) join() *awkward {
	b := &awkward{net: n}
	b.changed.L = &b.mu
	n.mu.Lock()
	defer n.mu.Unlock()
	n.brokers = append(n.brokers, b)
	return b
}

// settle waits until everything published has been delivered.
func (n *network) settle() {
	for _, b := range n.brokers {
		b.mu.Lock()
		for len(b.queue) > 0 || b.busy {
			b.changed.Wait()
		}
		b.mu.Unlock()
	}
}

func (b *awkward) Start(h hub.Handler) error {
	b.handler = h
	b.worker.Go(b.work)
	return nil
}

func (b *awkward) work() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		b.busy = false
		b.changed.Broadcast()
		for len(b.queue) == 0 && !b.closed {
			b.changed.Wait()
		}
		if len(b.queue) == 0 {
			return
		}
		next := b.queue[0]
		b.queue, b.busy = b.queue[1:], true
		b.mu.Unlock()
		next()
		b.mu.Lock()
	}
}

func (b *awkward) deliver(m *hub.Message) {
	b.mu.Lock()
	wanted := b.interested.Get([2]string{m.App, m.Channel})
	b.mu.Unlock()
	pause()
	if wanted {
		d := b.handler.Deliver(m)
		pause()
		d.Flush()
	}
}

// pause lets other goroutines run.
func pause() {
	for range 3 {
		runtime.Gosched()
	}
}

func (b *awkward) Publish(_ context.Context, all []*hub.Message) error {
	for _, other := range b.net.brokers {
		other.mu.Lock()
		for len(other.queue) > 100 {
			other.changed.Wait()
		}
		other.mu.Unlock()
	}
	b.net.mu.Lock()
	defer b.net.mu.Unlock()
	for _, m := range all {
		b.net.publish(m)
	}
	return nil
}

// publish numbers a message and queues it for all. The caller holds mu.
func (n *network) publish(m *hub.Message) {
	if n.last == nil {
		n.last = make(map[string]hub.Position)
	}
	at, ok := n.last[m.App]
	if !ok {
		at.Epoch = hub.NewEpoch(m.App)
	}
	at.Offset++
	n.last[m.App] = at
	m.Position, m.Subscribers = at, 0
	copied := *m
	copied.Data = bytes.Clone(m.Data)
	clear(m.Data) // it belongs to its caller again
	for _, other := range n.brokers {
		m.Subscribers += other.handler.Subscribers(m.App, m.Channel)
		other.mu.Lock()
		other.queue = append(other.queue, func() { other.deliver(&copied) })
		other.changed.Broadcast()
		other.mu.Unlock()
	}
}

func (b *awkward) Interest(_ context.Context, app, channel string, on bool) error {
	pause()
	if fail := b.net.fail; fail != nil {
		if err := fail(on); err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	key := [2]string{app, channel}
	switch {
	case b.interested.Get(key) == on:
		panic("told what it knows")
	case on:
		b.interested.Set(key, true)
	default:
		b.interested.Delete(key)
	}
	return nil
}

func (b *awkward) Sync(_ context.Context, app string) error {
	b.net.mu.Lock()
	at, ok := b.net.last[app]
	done := make(chan struct{})
	b.mu.Lock()
	b.queue = append(b.queue, func() {
		if ok {
			b.handler.Stand(app, at)
		}
		close(done)
	})
	b.changed.Broadcast()
	b.mu.Unlock()
	b.net.mu.Unlock()
	<-done
	return nil
}

func (*awkward) Forget(string) {}

func (b *awkward) Close() error {
	b.mu.Lock()
	b.closed = true
	b.changed.Broadcast()
	b.mu.Unlock()
	b.worker.Wait()
	return nil
}
