package hub_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/hub"
)

func batch(n int, channel func(i int) string) []hub.Message {
	all := make([]hub.Message, n)
	for i := range all {
		all[i] = hub.Message{App: "app", Channel: channel(i), Event: "e", Data: json.RawMessage(fmt.Sprint(i))}
	}
	return all
}

// The messages of a batch are in a row, in their order, and none waits for
// another of the batch, however little may be ahead of the flushes.
func TestBatchIsPublishedInItsOrder(t *testing.T) {
	onEach(t, func(h *testHub) {
		t := h.t
		h.Configure(hub.Limits{Ahead: 1})
		box := new(inbox)
		member := h.Join("app", box)
		for _, channel := range []string{"a", "b", "c"} {
			subscribe(t, member, channel)
		}
		receipts, err := h.PublishAll(background, batch(100, func(i int) string { return "abc"[i%3 : i%3+1] }))
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for i, r := range receipts {
			if r.Offset != uint64(i+1) || r.Subscribers != 1 {
				t.Fatalf("message %d: %+v", i, r)
			}
			want = append(want, fmt.Sprintf("app/%s/%d", "abc"[i%3:i%3+1], i))
		}
		if got := h.got(box); !slices.Equal(got, want) {
			t.Errorf("got %s", strings.Join(got, " "))
		}
		member.Close()
		h.expectEmpty(t)
	})
}

func TestNothingOfABatchIsPublishedAfterTheEnd(t *testing.T) {
	h, err := hub.New(hub.NewMemory(), hub.Codec[string]{Encode: func(*hub.Message) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 2} {
		if _, err := h.PublishAll(background, batch(n, func(int) string { return "a" })); !errors.Is(err, hub.ErrStopped) {
			t.Errorf("%d messages: %v", n, err)
		}
	}
	if _, err := h.Publish(background, hub.Message{App: "app", Channel: "a"}); !errors.Is(err, hub.ErrStopped) {
		t.Errorf("one message: %v", err)
	}
}
