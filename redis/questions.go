package redis

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/cluster"
	"go.uber.org/zap"
)

const (
	// maxAnswers bounds the questions of other machines that are answered at the same
	// time. As many again are told that this machine is busy, and those above that get
	// no answer.
	maxAnswers = 64

	// maxQuestion bounds a question and an answer, in bytes. Redis closes a
	// subscriber's connection above 32 MB.
	maxQuestion = 16 << 20

	// askTimeout is how long an answer is waited for at most.
	askTimeout = time.Minute

	// silentTimeout is how long the answer of a machine is waited for that has not
	// answered before, until something is heard of it again: so only the first question
	// to a machine that was killed takes long. Longer would hold up all lists for as
	// long as the machine is one.
	silentTimeout = 100 * time.Millisecond

	// sendPause is the time between attempts to reach a machine that subscribes again.
	sendPause = 50 * time.Millisecond
)

// questions are those between this machine and the others.
type questions struct {
	foreign sync.Once // for the log line about another version

	qmu       sync.Mutex // guards everything below; locked after a member's mu
	last      uint64     // the ID of the last question
	asked     map[uint64]*asked
	answering map[asking]context.CancelFunc
	silent    map[string]bool // machines that have not answered, and were not heard of since
}

// An asked question is one that this machine waits for.
type asked struct {
	machine string
	answer  chan *letter // holds one
	cancel  context.CancelCauseFunc
}

// An asking is another machine's question.
type asking struct {
	machine string
	id      uint64
}

func (q *questions) init() {
	q.asked, q.answering = make(map[uint64]*asked), make(map[asking]context.CancelFunc)
	q.silent = make(map[string]bool)
}

// Ask implements cluster.Cluster. A question and an answer have at most 16 MB. The
// answer is waited for at most a minute.
func (b *broker) Ask(ctx context.Context, machine, question string, body []byte) ([]byte, error) {
	ctx, done, err := b.beginWithin(ctx, askTimeout)
	if err != nil {
		return nil, err
	}
	defer done()
	m := b.member()
	if machine == m.id {
		return m.answer(ctx, question, body)
	}
	return m.ask(ctx, machine, question, body)
}

// AskAll implements cluster.Cluster. A machine that leaves or is lost meanwhile is not
// waited for.
func (b *broker) AskAll(ctx context.Context, question string, body []byte) ([]cluster.Answer, error) {
	ctx, done, err := b.beginWithin(ctx, askTimeout)
	if err != nil {
		return nil, err
	}
	defer done()
	m := b.member()
	all := b.Machines()
	answers, errs := make([][]byte, len(all)), make([]error, len(all))
	var waiting sync.WaitGroup
	for i, other := range all {
		if other.ID != m.id {
			waiting.Go(func() { answers[i], errs[i] = m.ask(ctx, other.ID, question, body) })
		}
	}
	waiting.Wait()
	var got []cluster.Answer
	for i, other := range all {
		switch {
		case other.ID == m.id, errors.Is(errs[i], cluster.ErrUnknown):
			errs[i] = nil
		case errs[i] != nil:
			errs[i] = fmt.Errorf("machine %s: %w", other.ID, errs[i])
		default:
			got = append(got, cluster.Answer{Machine: other.ID, Body: answers[i]})
		}
	}
	return got, errors.Join(errs...)
}

// ask asks another machine. ctx has a deadline, which the other machine gets, even if
// this one does not wait that long.
func (m *member) ask(ctx context.Context, machine, question string, body []byte) ([]byte, error) {
	if len(body) > maxQuestion {
		return nil, tooLarge("question", question, len(body))
	}
	deadline, _ := ctx.Deadline()
	if m.isSilent(machine) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, silentTimeout)
		defer cancel()
	}
	ctx, id, a := m.wait(ctx, machine)
	defer m.settle(id)
	// After wait, so that abandon finds the question if the machine is lost later.
	if !m.alive(machine) {
		return nil, cluster.ErrUnknown
	}
	err := m.send(ctx, machine, letter{kind: letterQuestion, id: id, question: question, timeout: time.Until(deadline), body: body})
	if err == nil {
		select {
		case l := <-a.answer:
			if l.kind == letterError {
				return nil, errors.New(string(l.body))
			}
			return l.body, nil
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	switch {
	case errors.Is(context.Cause(ctx), cluster.ErrUnknown):
		return nil, cluster.ErrUnknown
	case ctx.Err() == nil:
		return nil, fmt.Errorf("%w: %w", cluster.ErrNoAnswer, m.broker.server.explain(err))
	case errors.Is(ctx.Err(), context.DeadlineExceeded): // which the other machine knows
		m.noteSilent(machine)
	default:
		m.broker.work.Go(func() { m.withdraw(machine, id) }) //nolint:contextcheck // ctx has ended
	}
	if away := m.broker.refusal(); away != nil { // it is not that machine's fault
		return nil, fmt.Errorf("%w: %w", cluster.ErrNoAnswer, m.broker.server.explain(away))
	}
	return nil, cluster.ErrNoAnswer
}

func tooLarge(what, question string, size int) error {
	return fmt.Errorf("the %s %s between machines has %d bytes; at most %d (16 MB) are possible", what, question, size, maxQuestion)
}

// wait prepares for an answer. The context ends if the machine is lost.
func (m *member) wait(ctx context.Context, machine string) (context.Context, uint64, *asked) {
	ctx, cancel := context.WithCancelCause(ctx)
	a := &asked{machine: machine, answer: make(chan *letter, 1), cancel: cancel}
	m.qmu.Lock()
	defer m.qmu.Unlock()
	m.last++
	m.asked[m.last] = a
	return ctx, m.last, a
}

// settle ends the wait for an answer.
func (m *member) settle(id uint64) {
	m.qmu.Lock()
	defer m.qmu.Unlock()
	m.asked[id].cancel(nil)
	delete(m.asked, id)
}

// noteSilent notes that a machine has not answered.
func (m *member) noteSilent(machine string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.qmu.Lock()
	defer m.qmu.Unlock()
	if m.others[machine] != nil {
		m.silent[machine] = true
	}
}

// isSilent reports whether a machine has not answered, and was not heard of since.
func (m *member) isSilent(machine string) bool {
	m.qmu.Lock()
	defer m.qmu.Unlock()
	return m.silent[machine]
}

// abandon ends the questions to and of a machine that has left or was lost.
func (m *member) abandon(machine string) {
	m.qmu.Lock()
	defer m.qmu.Unlock()
	delete(m.silent, machine)
	for _, a := range m.asked {
		if a.machine == machine {
			a.cancel(cluster.ErrUnknown)
		}
	}
	for q, cancel := range m.answering {
		if q.machine == machine {
			cancel()
		}
	}
}

// send sends a letter. It tries again while the machine has no subscription, but not
// after an error, because the letter may have arrived.
func (m *member) send(ctx context.Context, machine string, l letter) error {
	l.from = m.id
	text := l.encode()
	for {
		if _, err := m.lane.await(ctx); err != nil { // there the answer comes in
			return err
		}
		c := m.broker.client
		n, err := c.Do(ctx, c.B().Spublish().Channel(m.inboxName(machine)).Message(text).Build()).AsInt64()
		if err != nil || n > 0 {
			return err
		}
		if err := sleep(ctx, sendPause); err != nil {
			return err
		}
	}
}

// withdraw tells a machine that nobody waits for its answer any longer.
func (m *member) withdraw(machine string, id uint64) {
	ctx, cancel := context.WithTimeout(m.broker.ctx, requestTimeout)
	defer cancel()
	_ = m.send(ctx, machine, letter{kind: letterWithdrawn, id: id}) // it is answered in vain otherwise
}

// receive takes a letter to this machine. It does not block.
func (m *member) receive(text string) {
	l, err := readLetter(text)
	if err == nil {
		m.qmu.Lock()
		delete(m.silent, l.from)
		m.qmu.Unlock()
		switch l.kind {
		case letterQuestion:
			m.take(l)
			return
		case letterAnswer, letterError:
			m.deliver(l)
			return
		case letterWithdrawn:
			m.qmu.Lock()
			defer m.qmu.Unlock()
			if cancel := m.answering[asking{l.from, l.id}]; cancel != nil {
				cancel()
			}
			return
		}
		err = errLetter
	}
	m.foreign.Do(func() {
		m.broker.log.Warn("questions of another machine are ignored", zap.Error(err))
	})
}

// deliver passes an answer to who waits for it.
func (m *member) deliver(l *letter) {
	m.qmu.Lock()
	defer m.qmu.Unlock()
	if a := m.asked[l.id]; a != nil && a.machine == l.from {
		select {
		case a.answer <- l:
		default:
		}
	}
}

// take answers a question in a goroutine of its own. The lane calls it, which the
// broker waits for.
func (m *member) take(l *letter) {
	key := asking{l.from, l.id}
	m.qmu.Lock()
	defer m.qmu.Unlock()
	n := len(m.answering)
	if n >= 2*maxAnswers || m.answering[key] != nil || l.timeout <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(m.broker.ctx, min(l.timeout, askTimeout))
	m.answering[key] = cancel
	m.broker.work.Go(func() {
		defer func() {
			m.qmu.Lock()
			defer m.qmu.Unlock()
			delete(m.answering, key)
			cancel()
		}()
		m.reply(ctx, l, n >= maxAnswers)
	})
}

var errBusy = fmt.Errorf("the machine is busy: it answers %d questions already; try again", maxAnswers)

// reply answers a question.
func (m *member) reply(ctx context.Context, l *letter, busy bool) {
	answer, err := []byte(nil), errBusy
	if !busy {
		answer, err = m.answer(ctx, l.question, l.body)
	}
	if err == nil && len(answer) > maxQuestion {
		err = tooLarge("answer to", l.question, len(answer))
	}
	r := letter{kind: letterAnswer, id: l.id, body: answer}
	if err != nil {
		r.kind, r.body = letterError, []byte(err.Error())
	}
	if err := m.send(ctx, l.from, r); err != nil && ctx.Err() == nil {
		m.broker.log.Warn("cannot answer another machine", zap.String("machine", l.from), zap.String("question", l.question),
			zap.Error(m.broker.server.explain(err)))
	}
}

// answer has the handler answer. A panic becomes an error.
func (m *member) answer(ctx context.Context, question string, body []byte) (answer []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			m.broker.log.Error("a panic while answering another machine", zap.String("question", question), zap.Any("panic", r), zap.ByteString("stack", debug.Stack()))
			answer, err = nil, fmt.Errorf("the machine %s cannot answer %s because of a fault in it; its log has the details", m.id, question)
		}
	}()
	return m.handler.Answer(ctx, question, body)
}
