package redis

import (
	"context"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/webhook"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// vanishing is a Shared whose app is deleted while it is called.
type vanishing struct {
	webhook.Shared
	forget func()        // called before a record is deleted
	asked  chan struct{} // if not nil, Records tells it, and then waits for its context
}

func (v *vanishing) Records(ctx context.Context, app string) (map[string]string, error) {
	if v.asked == nil {
		return v.Shared.Records(ctx, app)
	}
	v.asked <- struct{}{}
	<-ctx.Done()
	return v.Shared.Records(ctx, app)
}

func (v *vanishing) SaveRecord(ctx context.Context, app, owner, epoch, hook, record string) error {
	if record == "" {
		v.forget()
	}
	return v.Shared.SaveRecord(ctx, app, owner, epoch, hook, record)
}

// sendThrough returns a machine that uses shared, and what it logs of warn and error.
func sendThrough(t *testing.T, n *node, shared webhook.Shared, hook webhook.Hook) (*teller, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.WarnLevel)
	manager, err := webhook.Open(webhook.Options{
		Logger: zap.New(core), AllowPrivate: true, Shared: shared, Machine: n.id,
		Machines: func() []string { return []string{n.id} }, Lease: hookLease, Timing: hookTiming,
	})
	if err != nil {
		t.Fatal(err)
	}
	m := &teller{node: n, Manager: manager}
	t.Cleanup(m.quit)
	m.use(hook)
	return m, logs
}

func TestHookOfAnAppThatAnotherMachineHasDeletedIsRemovedWithoutAnError(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	r := newReceiver(t)
	n := newNode(t, s.url(), "", "a", shortLease)
	shared := &vanishing{Shared: n.broker, forget: func() { s.do("DEL", senderKey(baseName("rt", "shop"))) }}
	m, _ := sendThrough(t, n, shared, hookTo(r.URL))
	m.say(0, 1)
	until(t, "it is sent", func() bool { return len(r.got()) == 1 })
	m.use()
}

func TestAppThatIsDeletedWhileItsSenderBeginsIsNotLogged(t *testing.T) {
	t.Parallel()
	n := newNode(t, startRedis(t).url(), "", "a", shortLease)
	shared := &vanishing{Shared: n.broker, forget: func() {}, asked: make(chan struct{}, 1)}
	m, logs := sendThrough(t, n, shared, hookTo("http://127.0.0.1:9"))
	<-shared.asked
	m.use()
	for _, line := range logs.All() {
		t.Errorf("%s %v", line.Message, line.ContextMap())
	}
}
