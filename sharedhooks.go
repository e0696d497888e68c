package realtime

import (
	"context"
	"encoding/json"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/manage"
	"github.com/seed-c079cc48/caddy-realtime/webhook"
)

// questionHook asks the machine that sends a webhook for its deliveries.
const questionHook = "webhook"

// sharedHooks are the webhooks of machines that share what happens: one of them sends
// for an app, and knows about its deliveries.
type sharedHooks struct {
	*hooks
	runtime *runtime
	kept    webhook.Shared
}

// shareHooks returns nil if the broker is that of one machine.
func (rt *runtime) shareHooks(broker hub.Broker) *sharedHooks {
	kept, ok := broker.(webhook.Shared)
	if !ok {
		return nil
	}
	rt.sharedHooks = &sharedHooks{runtime: rt, kept: kept}
	return rt.sharedHooks
}

// describe adds to the options what machines share.
func (h *sharedHooks) describe(o *webhook.Options) {
	o.Shared, o.Machine, o.Machines, o.Debounce = h.kept, h.runtime.machineID, h.machines, hookDelay
}

// machines returns the IDs of the machines that are alive. Nothing is sent before this
// one has joined.
func (h *sharedHooks) machines() []string {
	all := h.runtime.others.cluster.Machines()
	ids := make([]string, 0, len(all))
	for _, m := range all {
		ids = append(ids, m.ID)
	}
	return ids
}

// A hookAnswer is the answer to questionHook.
type hookAnswer struct {
	State manage.HookState `json:"state"`
	Known bool             `json:"known"`
}

// answerHook says what this machine knows of a webhook.
func (rt *runtime) answerHook(q viewQuestion) (a hookAnswer, err error) {
	a.State, a.Known = rt.hooks.State(q.App, q.ID)
	return a, nil
}

// State implements manage.Webhooks. The sender is asked.
func (h *sharedHooks) State(app, hook string) (manage.HookState, bool) {
	sender := h.manager.Sender(app)
	if sender == h.runtime.machineID {
		return h.hooks.State(app, hook)
	}
	if sender == "" {
		return manage.HookState{}, false
	}
	text, err := json.Marshal(viewQuestion{App: app, ID: hook})
	if err != nil {
		return manage.HookState{}, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), machineTimeout)
	defer cancel()
	var a hookAnswer
	others := h.runtime.others
	answer, err := others.cluster.Ask(ctx, sender, questionHook, text)
	if err == nil {
		err = json.Unmarshal(answer, &a)
	}
	if err != nil {
		others.seldom.Log(h.log.Warn, "the machine that sends a webhook has not said how its deliveries are going", zap.String("machine", sender), zap.Error(err))
	}
	return a.State, a.Known
}

// Interface guard
var _ manage.Webhooks = (*sharedHooks)(nil)
