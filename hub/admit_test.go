package hub_test

import (
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/admittest"
)

func TestTermsOfOneMachine(t *testing.T) {
	admittest.Run(t, func(t *testing.T) []*hub.Hub[string] {
		t.Helper()
		h, err := hub.New(hub.NewMemory(), hub.Codec[string]{
			Encode:  func(m *hub.Message) string { return string(m.Data) },
			Text:    func(s string) []byte { return []byte(s) },
			Payload: func(text []byte, _ string) (string, error) { return string(text), nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		})
		return []*hub.Hub[string]{h}
	})
}
