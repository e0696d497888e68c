package manage_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/managetest"
)

// bystander is in channels, and reads nothing.
type bystander string

func (b bystander) ID() string                 { return string(b) }
func (b bystander) Queue(struct{}) hub.Flusher { return nil }

// refusedQuery says what of a query is no request for a page; "" for nothing.
func refusedQuery(query string, known []string, ofChannels bool) string {
	asked, err := url.ParseQuery(query)
	if err != nil {
		return err.Error()
	}
	for name, values := range asked {
		if !slices.Contains(known, name) || len(values) > 1 {
			return name
		}
	}
	name := regexp.MustCompile(`^[A-Za-z0-9_=@,.;:/-]{0,200}$`)
	switch after := asked.Get("after"); {
	case ofChannels && !name.MatchString(after), ofChannels && !name.MatchString(asked.Get("prefix")):
		return "no channel's name"
	case !ofChannels && after != "":
		created, id, _ := strings.Cut(after, ",")
		if _, err := time.Parse(time.RFC3339Nano, created); err != nil || !strings.HasPrefix(id, "app_") {
			return "no place"
		}
	}
	return ""
}

// FuzzLists asks for pages of apps, in the order in which they were made, and of
// channels, in that of their names. A page begins behind after and says how to
// go on if there is more; a query that asks for no page is refused.
func FuzzLists(f *testing.F) {
	s := managetest.New(f)
	var ids []string
	for range 12 {
		ids = append(ids, s.Create(f).ID)
	}
	_, place := s.Gateway.Registry.Apps("", 3)
	channels := []string{"a", "a.b", "a.b.c", "a/b", "b", "orders.1", "orders.10", "orders.2", "orders@x", "z"}
	member := s.Hub.Join(ids[0], bystander("s"))
	for _, channel := range channels {
		if err := member.Subscribe(f.Context(), channel, 100, hub.From{}, func(hub.Standing[struct{}]) {}); err != nil {
			f.Fatal(err)
		}
	}
	slices.Sort(channels)
	for _, query := range []string{
		"", "limit=3", "limit=3&after=" + url.QueryEscape(place), "limit=1000", "limit=1001", "limit=0", "limit=-1", "limit=+3", "limit=03", "limit=1e1", "limit=",
		"after=orders.1&limit=1", "prefix=orders.&limit=2", "prefix=%ff", "after=%00", "prefix=a&prefix=b", "limit=1&limit=2", "limit=%zz", "prefix=a;after=a.b", "name=shop", "after=none", "after=" + url.QueryEscape(place) + "x", "Limit=1",
	} {
		f.Add(false, query)
		f.Add(true, query)
	}
	f.Fuzz(func(t *testing.T, ofChannels bool, query string) {
		path, known := "/realtime/apps", []string{"after", "limit"}
		if ofChannels {
			path, known = "/realtime/channels/"+ids[0], append(known, "prefix")
		}
		r := httptest.NewRequest(http.MethodGet, path, http.NoBody)
		r.URL.RawQuery = query
		asked, _ := url.ParseQuery(query) // of a bad query, what can be read
		w := s.Serve(r)
		if refused := refusedQuery(query, known, ofChannels); refused != "" {
			if w.Code != http.StatusBadRequest {
				t.Fatalf("%q, with %s, is answered with %d %s", query, refused, w.Code, w.Body)
			}
			return
		}

		limit := 100
		if text := asked.Get("limit"); text != "" {
			n, notANumber := strconv.Atoi(text)
			if limit = n; notANumber != nil || n < 1 || n > 1000 {
				if w.Code != http.StatusBadRequest {
					t.Fatalf("%q is answered with %d %s", query, w.Code, w.Body)
				}
				return
			}
		}
		var page struct {
			Apps     []struct{ ID string }
			Channels []struct {
				Channel     string
				Subscribers int
			}
			Next *string
		}
		if err := json.Unmarshal(w.Body.Bytes(), &page); w.Code != http.StatusOK || err != nil {
			t.Fatalf("%q is answered with %d %s", query, w.Code, w.Body)
		}
		var got []string
		for _, app := range page.Apps {
			got = append(got, app.ID)
		}
		for _, c := range page.Channels {
			got = append(got, c.Channel)
			if c.Subscribers != 1 {
				t.Fatalf("%q is answered with %s", query, w.Body)
			}
		}
		after := asked.Get("after")
		var want []string // all from the page's begin on
		switch {
		case ofChannels:
			for _, name := range channels {
				if name > after && strings.HasPrefix(name, asked.Get("prefix")) {
					want = append(want, name)
				}
			}
		case after == "":
			want = ids
		case len(got) > 0: // somewhere behind a place
			want = ids[slices.Index(ids, got[0]):]
		}
		more := len(want) > limit
		want = want[:min(len(want), limit)]
		if !slices.Equal(got, want) || more != (page.Next != nil) {
			t.Fatalf("%q is answered with %.300s, not with %q", query, w.Body, want)
		}
		if !more {
			return
		}
		if next, _ := s.Gateway.Registry.Apps(*page.Next, 1); ofChannels && *page.Next != want[limit-1] || !ofChannels && next[0].ID != ids[slices.Index(ids, want[limit-1])+1] {
			t.Fatalf("%q goes on at %q", query, *page.Next)
		}
	})
}
