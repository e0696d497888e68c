package redis

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"
	"github.com/seed-c079cc48/caddy-realtime/hub"
)

const (
	// maxTogether and maxTogetherBytes bound the publishes of an app that are sent to Redis
	// together, and thereby how long their script holds it up: about a millisecond.
	maxTogether      = 100
	maxTogetherBytes = 256 << 10

	// maxWaiting and maxWaitingBytes bound the publishes of an app that wait to be sent,
	// and waitTimeout for how long each of them does.
	maxWaiting      = 10_000
	maxWaitingBytes = 64 << 20
	waitTimeout     = requestTimeout
)

var errUnanswered = errors.New("it was not answered; the log has the panic of a publish that it was sent with")

var errTooMany = errors.New("too many publishes of this app wait for Redis on this machine: publish less at once, or several messages in one request")

var errWaited = errors.New("it was not published, because publishes of this app wait too long for Redis on this machine: publish less at once, and see why Redis or the network is slow")

// A sender sends the publishes of an app to Redis: those that come while it waits for an
// answer are sent together. So the more is published, the less a publish costs, and one
// that comes alone waits for nobody.
type sender struct {
	app *app

	mu      sync.Mutex // guards everything below
	busy    bool       // a publish is sending
	waiting []*publication
	bytes   int // of waiting
}

// A publication is a publish on its way to Redis.
type publication struct {
	all    []*hub.Message
	terms  hub.Terms
	bodies []string // of all
	bytes  int      // of the bodies

	turn    chan struct{} // closed when it is answered, or is the one to send; nil if it never waits
	done    bool          // answered
	outcome hub.Outcome
	err     error // errUnanswered until it is
}

// newPublication returns a publication of messages.
func newPublication(all []*hub.Message, t hub.Terms) *publication {
	p := &publication{all: all, terms: t, bodies: make([]string, len(all)), err: errUnanswered}
	for i, m := range all {
		p.bodies[i] = encodeBody(m)
		p.bytes += len(p.bodies[i])
	}
	return p
}

// publish sends a publication, by itself or with others, and waits for its answer.
func (s *sender) publish(ctx context.Context, p *publication) (hub.Outcome, error) {
	s.mu.Lock()
	if !s.busy {
		s.busy = true
		s.mu.Unlock()
		return s.lead(ctx, p)
	}
	if len(s.waiting) == maxWaiting || len(s.waiting) > 0 && s.bytes+p.bytes > maxWaitingBytes {
		s.mu.Unlock()
		return hub.Outcome{}, errTooMany
	}
	p.turn = make(chan struct{})
	s.waiting = append(s.waiting, p)
	s.bytes += p.bytes
	s.mu.Unlock()
	timer := time.NewTimer(waitTimeout)
	defer timer.Stop()
	select {
	case <-p.turn:
	case <-timer.C:
		if s.withdraw(p) {
			return hub.Outcome{}, errWaited
		}
		<-p.turn // the calls to Redis end in time, and Close waits for them
	}
	if p.done {
		return p.outcome, p.err
	}
	return s.lead(ctx, p)
}

// drop removes the first n publications that wait. The caller holds mu.
func (s *sender) drop(n int) {
	for _, p := range s.waiting[:n] {
		s.bytes -= p.bytes
	}
	clear(s.waiting[:n]) // the array remains, but must not keep them
	s.waiting = s.waiting[n:]
}

// withdraw removes a publication that waits. It returns false if it no longer does.
func (s *sender) withdraw(p *publication) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.waiting, p)
	if i < 0 {
		return false
	}
	s.waiting = slices.Delete(s.waiting, i, i+1)
	s.bytes -= p.bytes
	return true
}

// lead sends a publication, and those that wait and go with it. Then the next one that
// waits does the same.
func (s *sender) lead(ctx context.Context, p *publication) (hub.Outcome, error) {
	together := s.join(p)
	defer s.pass(together[1:]) // a panic must not hold up the others
	s.app.send(ctx, together)
	return p.outcome, p.err
}

// pass answers those that were sent with another one, and lets the next one send.
func (s *sender) pass(answered []*publication) {
	s.mu.Lock()
	var next *publication
	if len(s.waiting) > 0 {
		next = s.waiting[0]
		s.drop(1)
	} else {
		s.busy, s.waiting = false, nil
	}
	s.mu.Unlock()
	for _, p := range answered {
		p.done = true
		close(p.turn)
	}
	if next != nil {
		close(next.turn)
	}
}

// join takes the next ones that wait, as far as they can be sent with a publication.
func (s *sender) join(p *publication) []*publication {
	together, messages, bytes := []*publication{p}, len(p.all), p.bytes
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, next := range s.waiting {
		messages, bytes = messages+len(next.all), bytes+next.bytes
		if messages > maxTogether || bytes > maxTogetherBytes || next.terms.Limit != p.terms.Limit || next.terms.Window != p.terms.Window {
			break
		}
		together = append(together, next)
		n++
	}
	s.drop(n)
	return together
}

// send publishes publications, and sets their outcomes.
func (a *app) send(ctx context.Context, together []*publication) {
	err := a.broker.refusal()
	var answers []rueidis.RedisMessage
	if err == nil {
		began := time.Now()
		answers, err = a.exchange(ctx, together)
		a.broker.measures.published(began)
	}
	if err != nil && !errors.Is(err, hub.ErrStopped) {
		err = a.broker.server.explain(err)
	}
	for i, p := range together {
		if p.err = err; err == nil {
			p.outcome, p.err = a.conclude(p, answers[i])
		}
	}
}

// beginEpoch begins a new epoch if one is needed.
func (a *app) beginEpoch(ctx context.Context) error {
	p := newPublication(nil, hub.Terms{})
	a.send(ctx, []*publication{p})
	return p.err
}

// exchange runs publish.lua, and returns its answers.
func (a *app) exchange(ctx context.Context, together []*publication) ([]rueidis.RedisMessage, error) {
	// Others wait for it, too: neither a caller who goes away nor Close ends it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	args := a.publishArgs(together)
	answers, err := a.write(ctx, publishScript, args...).ToArray()
	if err == nil && len(answers) == 0 {
		args[1] = a.leftEpochs(hub.NewEpoch(a.id))
		answers, err = a.write(ctx, publishScript, args...).ToArray()
	}
	if err == nil && len(answers) != len(together) {
		err = errPosition
	}
	return answers, err
}

// conclude reads the answer to a publication.
func (a *app) conclude(p *publication, answer rueidis.RedisMessage) (o hub.Outcome, err error) {
	text, err := answer.ToString()
	if err != nil {
		return o, errPosition
	}
	what, rest, _ := strings.Cut(text, " ")
	if what == "mismatch" {
		return o, hub.ErrIdempotencyMismatch
	}
	o.Rate, rest, err = readRate(rest, p.terms)
	if err != nil {
		return o, err
	}
	switch what {
	case "limited":
		o.Rate.OK = false
		return o, hub.ErrRateLimited
	case "replayed":
		o.Replayed = true
		return o, hub.Replay(rest, p.all)
	}
	at, err := readPosition(strings.Split(rest, " "))
	if err != nil {
		return o, err
	}
	for _, m := range p.all {
		at.Offset++
		m.Position = at
	}
	a.learn(at)
	return o, nil
}

// leftEpochs returns an epoch to begin if one is needed, "" for none, and after it those
// that must not go on: a server that was empty took over, and then another one with data.
// What had been given there, and was lost, would be given again.
func (a *app) leftEpochs(begin string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.left) == 0 {
		return begin
	}
	if begin == "" {
		begin = strings.Repeat("-", epochLength)
	}
	return begin + " " + strings.Join(a.left, " ")
}

// epochLength is that of hub.NewEpoch, which publish.lua counts on.
const epochLength = 16
