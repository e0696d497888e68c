package redis

import (
	"errors"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/hub"
)

func TestPublishesAreAnsweredAlthoughTheOneThatSendsThemPanics(t *testing.T) {
	t.Parallel()
	waits := func() *publication {
		p := newPublication([]*hub.Message{message("app", "a", "event")}, hub.Terms{})
		p.turn = make(chan struct{})
		return p
	}
	together, next := waits(), waits()
	next.terms.Limit = 1 // so it is sent by itself
	s := &sender{app: new(app), busy: true, waiting: []*publication{together, next}}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("an app without a broker can send")
			}
		}()
		_, _ = s.lead(t.Context(), newPublication([]*hub.Message{message("app", "a", "event")}, hub.Terms{}))
	}()
	<-together.turn
	if !together.done || !errors.Is(together.err, errUnanswered) {
		t.Errorf("the other one: done %t, %v", together.done, together.err)
	}
	<-next.turn
	if next.done || !s.busy || len(s.waiting) > 0 {
		t.Errorf("it is not the next one's turn: done %t, busy %t, %d wait", next.done, s.busy, len(s.waiting))
	}
}
