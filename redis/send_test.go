package redis

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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

func TestPublishThatWaitsTooLongForOthersIsRefusedAndNotSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sender{busy: true} // another publish sends, and has no answer yet
		p := newPublication([]*hub.Message{message("app", "a", "event")}, hub.Terms{})
		began := time.Now()
		_, err := s.publish(t.Context(), p)
		if took := time.Since(began); !errors.Is(err, errWaited) || took != waitTimeout {
			t.Errorf("after %s: %v", took, err)
		}
		if s.pass(nil); s.busy || len(s.waiting) > 0 || s.bytes != 0 {
			t.Errorf("it is still sent: busy %t, %d wait with %d bytes", s.busy, len(s.waiting), s.bytes)
		}
	})
}

// Redis would cut off the machines that cannot read it at once.
func TestPublishOfSeveralIsBoundedInBytesTogether(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	m := s.join("")
	m.subscribe("app", "a", "b")
	sized := func(channel string, size int) *hub.Message {
		large := message("app", channel, "event")
		large.Data, large.NoHistory = []byte(`"`+strings.Repeat("x", size-2)+`"`), true
		return large
	}
	const half = maxRequestBytes / 2
	_, err := m.Admit(t.Context(), []*hub.Message{sized("a", half), sized("b", half+1)}, hub.Terms{Limit: 1000, Window: time.Hour})
	if tooLarge, ok := errors.AsType[*hub.TooLargeError](err); !ok || tooLarge.Size != maxRequestBytes+1 || tooLarge.Limit != maxRequestBytes {
		t.Fatalf("one byte too many: %v", err)
	}
	if at := m.delivered("app"); len(at) > 0 {
		t.Errorf("%d of them were published", len(at))
	}
	for name, all := range map[string][]*hub.Message{
		"the bound":    {sized("a", half), sized("b", half)},
		"a single one": {sized("a", maxRequestBytes+1<<20)},
	} {
		// A busy machine may not get it to Redis in time.
		_, err := m.Admit(t.Context(), all, hub.Terms{})
		if tooLarge, ok := errors.AsType[*hub.TooLargeError](err); ok {
			t.Errorf("%s: %v", name, tooLarge)
		}
	}
}

func TestPublishesThatWaitAreBoundedInBytes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sender{busy: true}
		large := func() *publication {
			m := message("app", "a", "event")
			m.Data = make([]byte, maxWaitingBytes*2/3)
			return newPublication([]*hub.Message{m}, hub.Terms{})
		}
		go func() { _, _ = s.publish(t.Context(), large()) }()
		synctest.Wait()
		if _, err := s.publish(t.Context(), large()); !errors.Is(err, errTooMany) {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		time.Sleep(waitTimeout) // of the first
		synctest.Wait()
		if s.bytes != 0 {
			t.Errorf("%d bytes wait", s.bytes)
		}
	})
}
