package realtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/cluster"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/limit"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

const (
	// machineTimeout is how long another machine can take to answer.
	machineTimeout = 2 * time.Second

	// countAge is how old the known numbers of other machines' connections can be.
	countAge = 500 * time.Millisecond

	// leaseEnd is when a machine that does not answer is no longer one at the latest.
	leaseEnd = 15 * time.Second
)

// machine returns what the other machines know of this one.
func (rt *runtime) machine() cluster.Machine {
	address, _, _ := splitNodeAddress(rt.settings().NodeAddress)
	return cluster.Machine{ID: rt.machineID, Address: address, Version: moduleVersion(), Started: rt.began.UTC()}
}

// moduleVersion returns the version of this module in the binary, "" if it is not known.
func moduleVersion() string {
	const path = "github.com/seed-c079cc48/caddy-realtime"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	if info.Main.Path == path {
		return info.Main.Version
	}
	if i := slices.IndexFunc(info.Deps, func(m *debug.Module) bool { return m.Path == path }); i >= 0 {
		return info.Deps[i].Version
	}
	return ""
}

// join makes this machine known to those that share its broker, and the views of
// operators those of all.
func (rt *runtime) join(shared cluster.Cluster) error {
	g := rt.gateway
	rt.others = &others{cluster: shared, log: rt.log}
	rt.sessions, _ = shared.(hub.SessionStore)
	h := &machineHandler{log: rt.log, questions: questionsTo(g.Sockets, g.Channels, &rt.sockets, rt.presence)}
	h.questions[questionSession] = answering(rt.release)
	h.questions[questionHook] = answering(rt.answerHook)
	if err := shared.Join(rt.machine(), h); err != nil {
		return err
	}
	if carrier, ok := shared.(cluster.Presence); ok {
		carrier.SharePresence(machineMembers{rt})
		g.Presence = allMembers{rt.presence, rt.others}
	}
	if clock, ok := shared.(cluster.Clock); ok {
		g.Clock = clock.Now
	}
	rt.nodes.use(shared)
	g.Sockets = allSockets{g.Sockets, rt.others}
	g.Channels = allChannels{g.Channels, rt.others}
	if rt.hooks.shared {
		g.Webhooks = rt.sharedHooks
	}
	return nil
}

// machines implements manage.Gateway.Machines.
func (rt *runtime) machines() []manage.Machine {
	if rt.others == nil {
		return []manage.Machine{viewMachine(rt.machine(), new(rt.sockets.total()))}
	}
	counts := rt.others.counts()
	var all []manage.Machine
	for _, m := range rt.others.cluster.Machines() {
		var n *int
		if of, ok := counts[m.ID]; ok {
			n = new(0)
			for _, count := range of {
				*n += count
			}
		} else if m.ID == rt.machineID {
			n = new(rt.sockets.total())
		}
		all = append(all, viewMachine(m, n))
	}
	return all
}

func viewMachine(m cluster.Machine, connections *int) manage.Machine {
	v := manage.Machine{ID: m.ID, Started: m.Started, Connections: connections}
	if m.Address != "" {
		v.Address = &m.Address
	}
	if m.Version != "" {
		v.Version = &m.Version
	}
	return v
}

// A machineHandler answers the other machines.
type machineHandler struct {
	log       *zap.Logger
	questions map[string]question
}

// A question is what answers one.
type question func(ctx context.Context, body []byte) ([]byte, error)

// Answer implements cluster.Handler.
func (h *machineHandler) Answer(ctx context.Context, name string, body []byte) ([]byte, error) {
	answer, ok := h.questions[name]
	if !ok {
		return nil, fmt.Errorf("this version of the gateway does not know the question %s; all machines need the same version", name)
	}
	return answer(ctx, body)
}

// Gone implements cluster.Handler.
func (h *machineHandler) Gone(m cluster.Machine) {
	h.log.Info("a machine has left, or was lost", zap.String("machine", m.ID))
}

// answering returns a question whose body and answer are JSON.
func answering[Q, A any](f func(Q) (A, error)) question {
	return func(_ context.Context, body []byte) ([]byte, error) {
		var q Q
		if err := json.Unmarshal(body, &q); err != nil {
			return nil, fmt.Errorf("reading the question: %w", err)
		}
		a, err := f(q)
		if err != nil {
			return nil, err
		}
		return json.Marshal(a)
	}
}

// others are the other machines.
type others struct {
	cluster cluster.Cluster
	log     *zap.Logger
	seldom  limit.Seldom // log lines about machines that do not answer

	mu      sync.Mutex                // guards counted and known; held while machines are asked, so that all wait for one answer
	counted time.Time                 // when known was asked for
	known   map[string]map[string]int // connections by machine and app
}

// alone reports whether there are no other machines.
func (o *others) alone() bool { return len(o.cluster.Machines()) < 2 }

// counts returns the numbers of connections, by machine and app, of the other machines
// that have answered.
func (o *others) counts() map[string]map[string]int {
	if o.alone() {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if time.Since(o.counted) > countAge {
		o.known, _ = askAll[map[string]int](o, questionCounts, struct{}{})
		o.counted = time.Now()
	}
	return o.known
}

// askAll asks all other machines, and returns their answers by machine. The error, for
// people, names those that have not answered.
func askAll[A any](o *others, name string, body any) (map[string]A, error) {
	all := make(map[string]A)
	err := o.ask(name, body, func(machine string, answer []byte) error {
		var a A
		if err := json.Unmarshal(answer, &a); err != nil {
			return err
		}
		all[machine] = a
		return nil
	})
	return all, err
}

// ask asks all other machines, and reads their answers.
func (o *others) ask(name string, body any, read func(machine string, answer []byte) error) error {
	if o.alone() {
		return nil
	}
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), machineTimeout)
	defer cancel()
	answers, err := o.cluster.AskAll(ctx, name, text)
	for _, answer := range answers {
		if failed := read(answer.Machine, answer.Body); failed != nil {
			err = errors.Join(err, fmt.Errorf("machine %s: %w", answer.Machine, failed))
		}
	}
	if err == nil {
		return nil
	}
	o.seldom.Log(o.log.Warn, "another machine has not answered, so that lists and numbers lack what it has", zap.String("question", name), zap.Error(err))
	return errUnanswered(err)
}

// errUnanswered says which machines have not answered, and what to do.
func errUnanswered(err error) error {
	reason := strings.ReplaceAll(err.Error(), "\n", "; ")
	return apierr.Unavailable(fmt.Sprintf("It was not done on all machines: %s. Try again in %.0f seconds: a machine that does not answer until then is lost for the others. If it is only cut off from Redis, its connections stay open; disconnect them once it is back, or revoke what they use.",
		reason, leaseEnd.Seconds()), leaseEnd)
}
