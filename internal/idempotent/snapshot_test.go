package idempotent_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/idempotent"
)

func TestKeysOutliveAPlannedRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var before, after idempotent.Memory
		body := idempotent.DigestOf([]byte("body"))
		begin := func(m *idempotent.Memory, key string) (idempotent.Claim, []byte, error) {
			return m.Begin(idempotent.Request{App: "app", Key: key, Body: body})
		}
		claim, _, _ := begin(&before, "old")
		before.End(claim, []byte("first"))
		time.Sleep(4 * time.Minute)
		claim, _, _ = begin(&before, "new")
		before.End(claim, []byte("second"))
		before.End(claim, []byte("third")) // has ended
		refused, _, _ := begin(&before, "refused")
		claim, _, _ = begin(&before, "late")
		go func() {
			time.Sleep(time.Second)
			before.End(claim, []byte("in time"))
			before.End(refused, nil)
		}()
		saved := before.Save(t.Context()) // waits for both

		after.Restore(saved, 30*time.Second)
		for key, want := range map[string]string{"old": "first", "new": "second", "late": "in time"} {
			if _, answer, err := begin(&after, key); string(answer) != want || err != nil {
				t.Errorf("%s is answered %q, %v", key, answer, err)
			}
		}
		if _, answer, err := begin(&after, "refused"); answer != nil || err != nil {
			t.Errorf("a key that was freed is answered %q, %v", answer, err)
		}
		if _, _, err := after.Begin(idempotent.Request{App: "app", Key: "new"}); !errors.Is(err, idempotent.ErrMismatch) {
			t.Errorf("another body: %v", err)
		}
		time.Sleep(time.Minute)
		if _, answer, _ := begin(&after, "old"); answer != nil {
			t.Errorf("a key older than its lifetime is answered %q", answer)
		}
	})
}

func TestSaveDoesNotWaitForeverForAClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m idempotent.Memory
		if _, _, err := m.Begin(idempotent.Request{App: "app", Key: "stuck"}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if saved := m.Save(ctx); len(saved) != 0 {
			t.Errorf("saved %v", saved)
		}
		m.Forget("app")
		if saved := m.Save(t.Context()); len(saved) != 0 {
			t.Errorf("saved %v", saved)
		}
	})
}
