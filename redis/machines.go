package redis

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/cluster"
	"github.com/seed-c079cc48/caddy-realtime/internal/random"
	"go.uber.org/zap"
)

const (
	// leaseTime is how long a machine that no longer renews its lease counts as
	// alive. Redis' clock measures it.
	leaseTime = 15 * time.Second

	// renewals is how often a machine renews its lease in the time of one.
	renewals = 3

	// wakePause is how long news are collected before they are read.
	wakePause = 10 * time.Millisecond

	// leaveTimeout bounds how long a broker that is closed tries to tell Redis.
	leaveTimeout = 2 * time.Second

	// maxGone bounds the machines for which the handler's Gone is yet to be called.
	// Further ones stay in the list until there is room.
	maxGone = 1000

	// secretSize is the length of the secret, in bytes.
	secretSize = 32
)

// machinesName begins the names of the machines' keys and channels: all in one slot,
// which no app has.
func machinesName(prefix string) string { return prefix + ":{machines}:" }

// A member is this machine among the others. Redis decides who is alive: without it,
// the list stays as it is. After it was away, or has lost its data, the machines have
// the time of a lease to come back.
//
// A machine that was suspended for longer than its lease, as by SIGSTOP, is lost for
// the others: their handlers' Gone is called. When it goes on, it is one of the machines
// again, with the same ID, and learns of that only from a warning in its log.
type member struct {
	broker  *broker
	handler cluster.Handler
	id      string
	base    string // begins all names
	lane    *lane
	wake    chan struct{}        // holds one: the list is to be read
	gone    chan cluster.Machine // those for which Gone is to be called
	ready   chan struct{}        // closed once the machine has joined
	ended   chan string          // IDs of machines that are gone, for sweep
	questions

	// Only run uses these.
	epoch  string // the one of the last answer
	number string // of the last call
	joined string // the number of the call with which this machine joined
	away   bool   // the last call has failed

	mu     sync.Mutex // guards everything below
	self   cluster.Machine
	others map[string]*peer
	list   []cluster.Machine // all, in order of their IDs
	secret []byte            // the cluster's, or what to propose
}

// A peer is another machine.
type peer struct {
	cluster.Machine
	joined string // changes when it was lost and has come back

	// missing is since when Redis does not know the machine, because it has lost its
	// data; zero otherwise.
	missing time.Time
}

// Join implements cluster.Cluster.
func (b *broker) Join(self cluster.Machine, h cluster.Handler) error {
	done, err := b.begin()
	if err != nil {
		return err
	}
	defer done()
	if !random.IsText(self.ID, cluster.IDLength) {
		return fmt.Errorf("the ID of a machine, %q, is not %d letters and digits", self.ID, cluster.IDLength)
	}
	m := &member{
		broker: b, handler: h, id: self.ID, base: machinesName(b.prefix),
		wake: make(chan struct{}, 1), gone: make(chan cluster.Machine, maxGone), ended: make(chan string, maxGone), ready: make(chan struct{}),
		self: self, others: make(map[string]*peer), list: []cluster.Machine{self}, secret: make([]byte, secretSize),
	}
	_, _ = rand.Read(m.secret) // never fails, see crypto/rand
	m.questions.init()
	m.lane = b.newLane(m.base)
	m.lane.listen = map[string]func(string){m.newsName(): m.hear, m.inboxName(m.id): m.receive}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.self != nil {
		return errors.New("this machine has joined already")
	}
	b.self = m
	b.work.Go(m.lane.run)
	b.work.Go(m.run)
	b.work.Go(m.callGone)
	return nil
}

// member returns this machine, which has joined.
func (b *broker) member() *member {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.self
}

// Update implements cluster.Cluster.
func (b *broker) Update(self cluster.Machine) {
	m := b.member()
	m.mu.Lock()
	self.ID = m.id
	m.self = self
	m.sort()
	m.mu.Unlock()
	m.lookSoon()
}

// Machines implements cluster.Cluster.
func (b *broker) Machines() []cluster.Machine {
	m := b.member()
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.list)
}

// Secret implements cluster.Cluster. It waits until the machine has joined. If Redis
// has lost the secret, the machines give it back.
func (b *broker) Secret(ctx context.Context) ([]byte, error) {
	m := b.member()
	select {
	case <-m.ready:
	case <-ctx.Done():
		return nil, fmt.Errorf("redis has not given the secret of the machines yet: %w", ctx.Err())
	case <-b.ctx.Done():
		return nil, b.ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.secret), nil
}

func (m *member) machinesKey() string        { return m.base + "alive" }
func (m *member) secretKey() string          { return m.base + "secret" }
func (m *member) newsName() string           { return m.base + "news" }
func (m *member) inboxName(id string) string { return m.base + "to:" + id }

// run renews the lease until the broker is closed.
func (m *member) run() {
	ctx := m.broker.ctx
	// Whoever finds this machine in the list can then ask it, and nobody joins later
	// without this one hearing of it.
	if _, err := m.lane.await(ctx); err != nil {
		return
	}
	for {
		timer := time.NewTimer(m.renew(ctx))
		select {
		case <-timer.C:
		case <-m.wake:
			_ = sleep(ctx, wakePause)
		case <-ctx.Done():
			timer.Stop()
			m.leave()
			return
		}
		timer.Stop()
	}
}

// interval is the time between two renewals.
func (m *member) interval() time.Duration { return m.broker.lease / renewals }

// renew renews the lease, reads the list, and returns after which time to do so again.
func (m *member) renew(ctx context.Context) time.Duration {
	interval := m.interval()
	m.mu.Lock()
	record, err := json.Marshal(m.self)
	m.mu.Unlock()
	var a *roll
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, min(interval, requestTimeout))
		defer cancel()
		a, err = m.call(ctx, string(record))
	}
	if ctx.Err() == nil {
		m.noteAway(err)
	}
	if err != nil {
		return interval/10 + mathrand.N(interval/10) //nolint:gosec // spreads load
	}
	m.apply(a)
	interval += mathrand.N(interval/5) - interval/10 //nolint:gosec // spreads load
	return min(interval, a.soonest+time.Millisecond) // when a lease ends, it is known at once
}

// noteAway logs that Redis is away, or back.
func (m *member) noteAway(err error) {
	switch {
	case err != nil && !m.away:
		m.broker.log.Warn("cannot tell redis that this machine is alive; it goes on with the machines that it knows", zap.Error(m.broker.server.explain(err)))
	case err == nil && m.away:
		m.broker.log.Info("redis knows again that this machine is alive")
	}
	m.away = err != nil
}

// apply compares the list with what is known.
func (m *member) apply(a *roll) {
	lostData := m.epoch != "" && m.epoch != a.epoch
	m.epoch, m.number = a.epoch, a.number
	alive := make(map[string]*peer, len(a.peers))
	for _, p := range a.peers {
		if p.ID != m.id {
			alive[p.ID] = p
			continue
		}
		if m.joined != "" && m.joined != p.joined && !lostData {
			m.broker.log.Warn("this machine was cut off from redis for longer than its lease, so that it was lost for the others; it has joined again")
			m.broker.lookAtMarks()
		}
		m.joined = p.joined
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, p := range m.others {
		now := alive[id]
		switch {
		case now != nil && (now.joined == p.joined || lostData || !p.missing.IsZero()):
			continue
		case now == nil && lostData:
			p.missing = time.Now()
			alive[id] = p
			continue
		case now == nil && !p.missing.IsZero() && time.Since(p.missing) < m.broker.lease:
			alive[id] = p
			continue
		}
		select {
		case m.gone <- p.Machine:
			m.abandon(id)
		default:
			alive[id] = p
		}
	}
	m.others = alive
	m.secret = a.secret
	m.sort()
	select {
	case <-m.ready:
	default:
		close(m.ready)
	}
}

// sort makes the list. The caller holds mu.
func (m *member) sort() {
	list := make([]cluster.Machine, 0, len(m.others)+1)
	list = append(list, m.self)
	for _, p := range m.others {
		list = append(list, p.Machine)
	}
	slices.SortFunc(list, func(a, b cluster.Machine) int { return strings.Compare(a.ID, b.ID) })
	m.list = list
}

// alive reports whether another machine is part of the cluster.
func (m *member) alive(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.others[id] != nil
}

// callGone calls the handler's Gone until the broker is closed.
func (m *member) callGone() {
	for {
		select {
		case lost := <-m.gone:
			select {
			case m.ended <- lost.ID:
			default: // sweep finds it later
			}
			m.handler.Gone(lost)
		case <-m.broker.ctx.Done():
			return
		}
	}
}

// hear takes news: the list has changed.
func (m *member) hear(text string) {
	l, err := readLetter(text)
	if err == nil && l.from == m.id {
		return
	}
	m.lookSoon()
}

// lookSoon has run read the list.
func (m *member) lookSoon() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// leave removes this machine from the list.
func (m *member) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	if _, err := m.call(ctx, ""); err != nil {
		m.broker.log.Warn("cannot tell the other machines that this one has left; they know when its lease ends", zap.Error(m.broker.server.explain(err)))
	}
}
