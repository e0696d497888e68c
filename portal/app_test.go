package portal

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/manage"
	"github.com/seed-c079cc48/caddy-realtime/presence"
)

// crowded is three channels with presence. A count of members waits until all three are
// being counted, as counts wait for machines that do not answer.
type crowded struct {
	manage.Channels
	counting *sync.WaitGroup
}

func (crowded) List(string, string, string, int) ([]hub.Occupied, bool) {
	return []hub.Occupied{{Channel: "presence-a"}, {Channel: "presence-b"}, {Channel: "presence-c"}}, false
}

func (crowded) Members(string, string) []presence.Member { return nil }

func (c crowded) Count(_, channel string) int {
	c.counting.Done()
	c.counting.Wait()
	return 70 + int(channel[len(channel)-1]-'a')
}

func TestMembersOfChannelsAreCountedAtTheSameTime(t *testing.T) {
	s := newPortalServer(t)
	made, err := s.Gateway.Registry.Create("crowded")
	if err != nil {
		t.Fatal(err)
	}
	all := crowded{s.Gateway.Channels, new(sync.WaitGroup)}
	all.counting.Add(3)
	s.Gateway.Channels, s.Gateway.Presence = all, all
	answer := make(chan string, 1)
	go func() {
		answer <- s.visit(httptest.NewRequest(http.MethodGet, "/realtime/app/"+made.App.ID, nil)).Body.String()
	}()
	select {
	case page := <-answer:
		for _, row := range []string{">70<span class=\"hidden\"> in presence-a<", ">71<span class=\"hidden\"> in presence-b<", ">72<span class=\"hidden\"> in presence-c<"} {
			if !strings.Contains(page, row) {
				t.Errorf("%s is missing in %s", row, page)
			}
		}
	case <-time.After(30 * time.Second):
		t.Fatal("each count waits for the one before")
	}
}
