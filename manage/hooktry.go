package manage

import (
	"context"
	"time"
)

// tryPoll is the interval at which TryHook looks for the delivery.
const tryPoll = 50 * time.Millisecond

// TryHook sends a test event to a webhook and returns the first delivery that begins
// afterwards, which has the event unless others wait before it. It returns nil if
// there is none within wait, or before ctx or ending is done.
func (o Operator) TryHook(ctx context.Context, app, id string, wait time.Duration, ending <-chan struct{}) (*WebhookDelivery, error) {
	begun := time.Now()
	if err := o.TestHook(app, id); err != nil {
		return nil, err
	}
	poll := time.NewTicker(tryPoll)
	defer poll.Stop()
	end := time.NewTimer(wait)
	defer end.Stop()
	for {
		select {
		case <-poll.C:
		case <-end.C:
			return nil, nil
		case <-ending:
			return nil, nil
		case <-ctx.Done():
			return nil, nil
		}
		state, _ := o.gateway.Webhooks.State(app, id)
		last := viewHookState(state).Last
		for i := len(last) - 1; i >= 0; i-- { // the oldest first
			if !last[i].Time.Before(begun) {
				return &last[i], nil
			}
		}
	}
}
