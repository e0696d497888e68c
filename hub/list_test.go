package hub_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/hub"
)

func TestListHasAnAppsChannelsInOrderAndPages(t *testing.T) {
	h := newHub(t)
	for i := range 25 {
		for range i%3 + 1 {
			subscribe(t, h.Join("app", new(inbox)), fmt.Sprintf("orders.%02d", i))
		}
	}
	subscribe(t, h.Join("app", new(inbox)), "chat")
	subscribe(t, h.Join("other", new(inbox)), "orders.99")
	gone := h.Join("app", new(inbox))
	subscribe(t, gone, "orders.gone")
	gone.Close()

	var listed []hub.Occupied
	after, pages := "", 0
	for {
		page, more := h.List("app", "orders.", after, 10)
		listed = append(listed, page...)
		pages++
		if !more {
			break
		}
		after = page[len(page)-1].Channel
	}
	if pages != 3 || len(listed) != 25 {
		t.Fatalf("%d channels on %d pages", len(listed), pages)
	}
	for i, c := range listed {
		if c.Channel != fmt.Sprintf("orders.%02d", i) || c.Subscribers != i%3+1 {
			t.Errorf("%d: %+v", i, c)
		}
		if n := h.Subscribers("app", c.Channel); n != c.Subscribers {
			t.Errorf("%s has %d subscribers", c.Channel, n)
		}
	}
	if page, more := h.List("app", "", "", 1); more == false || !slices.Equal(page, []hub.Occupied{{Channel: "chat", Subscribers: 1}}) {
		t.Errorf("the first of all: %v, %t", page, more)
	}
	if page, more := h.List("nobody", "", "", 10); len(page) != 0 || more {
		t.Errorf("an app without channels has %v", page)
	}
	if n := h.Subscribers("app", "orders.gone"); n != 0 {
		t.Errorf("a channel that is gone has %d", n)
	}
}
