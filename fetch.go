package realtime

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/cluster"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

const (
	// fetchTimeout bounds how long a client that comes back waits for its session of
	// another machine, and releaseTimeout how long that machine can take to answer. Then
	// it counts as lost.
	fetchTimeout   = 4 * time.Second
	releaseTimeout = time.Second

	// confirmTimeout bounds how long a client that comes back to its machine waits while
	// Redis does not answer.
	confirmTimeout = time.Second

	questionSession = "session"
)

// A sessionQuestion asks a machine to release a session, which a client of that user
// wants to continue.
type sessionQuestion struct {
	App  string `json:"app"`
	PID  string `json:"pid"`
	User string `json:"user,omitempty"`
}

// confirm ends a session here that another machine has taken: its client is to continue
// with what it has there. Without Redis, the session continues as it is here.
func (s *socket) confirm(app *keystore.App, asked recoverRequest) {
	rt := s.runtime
	if rt.sessions == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), confirmTimeout)
	defer cancel()
	if err := rt.hub.Confirm(ctx, app.ID, asked.pid, rt.machineID); err != nil {
		rt.faults.confirm.Log(rt.log.Warn, "it cannot be known whether another machine has a session; its client continues here", zap.String("app", app.ID), zap.Error(err))
	}
}

// fetch makes a session that another machine has, or had, one of this machine.
func (s *socket) fetch(app *keystore.App, asked recoverRequest) bool {
	rt := s.runtime
	if rt.sessions == nil || !hub.IsPID(asked.pid) {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	q := sessionQuestion{App: app.ID, PID: asked.pid, User: s.rights.Load().User()}
	err := rt.fetch(ctx, q, asked.position, rt.settings().recovery(app))
	if err == nil {
		rt.fetched.Add(1)
		return true
	}
	if !errors.Is(err, errNoSession) {
		rt.faults.fetch.Log(rt.log.Warn, "a session could not be taken from another machine; its client begins again", zap.String("app", app.ID), zap.Error(err))
	}
	return false
}

var errNoSession = errors.New("there is no such session")

func (rt *runtime) fetch(ctx context.Context, q sessionQuestion, position string, within time.Duration) error {
	r, machine, err := rt.sessions.FindSession(ctx, q.App, q.PID)
	switch {
	case err != nil:
		return err
	case r == nil, machine == rt.machineID, r.User != q.User:
		return errNoSession
	}
	released, err := rt.askForSession(ctx, machine, q)
	if err != nil {
		return err
	}
	taken, err := rt.sessions.TakeSession(ctx, q.App, q.PID, machine)
	switch {
	case err != nil:
		return err
	case released != nil:
		r = released
	case !taken:
		return errNoSession
	}
	return rt.hub.Adopt(ctx, r, position, within)
}

// askForSession asks a machine to release a session. It returns nil if the machine is
// gone, or does not answer: what Redis has of the session is enough then.
func (rt *runtime) askForSession(ctx context.Context, machine string, q sessionQuestion) (*hub.SessionRecord, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	answer, err := rt.others.cluster.Ask(ctx, machine, questionSession, body)
	switch {
	case errors.Is(err, cluster.ErrUnknown):
		return nil, nil
	case err != nil:
		rt.faults.release.Log(rt.log.Info, "a machine does not release a session, which is taken from it", zap.String("machine", machine), zap.Error(err))
		return nil, nil
	}
	var r *hub.SessionRecord
	if err := json.Unmarshal(answer, &r); err != nil {
		return nil, err
	}
	if r == nil {
		return nil, errNoSession
	}
	return r, nil
}

// release answers questionSession. A session whose socket the gateway has disconnected is
// none, although a connection that is half open still has it.
func (rt *runtime) release(q sessionQuestion) (*hub.SessionRecord, error) {
	app, ok := rt.registry.App(q.App)
	if !ok {
		return nil, nil
	}
	now := time.Now()
	r, replaced := rt.hub.Release(q.App, q.PID, func(owner hub.Owner) bool {
		if owner == nil || owner.User() != q.User {
			return false
		}
		former, is := owner.(*rights)
		return !is || !former.withdrawn(app, now)
	})
	if s, ok := replaced.(*socket); ok {
		s.replace()
	}
	return r, nil
}
