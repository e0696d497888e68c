package portal

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestThePortalRefusesWhatIsNotItsCanonicalPath(t *testing.T) {
	s := newPortalServer(t)
	id := s.Create(t).ID
	gone, leave := context.WithCancel(t.Context()) // a stream ends at once
	leave()
	for target, want := range map[string]struct {
		status int
		root   string
	}{
		"/realtime/":                          {http.StatusOK, "./"},
		"/realtime/app/" + id:                 {http.StatusOK, "../"},
		"/realtime/app%2F" + id:               {http.StatusNotFound, "./"},
		"/realtime/app%2f" + id:               {http.StatusNotFound, "./"},
		"/realtime/app/%61" + id[1:]:          {http.StatusNotFound, "../"},
		"/realtime/app/" + id + "/":           {http.StatusNotFound, "../../"},
		"/realtime/app/" + id + "%2Flive":     {http.StatusNotFound, "../"},
		"/realtime/%61pp/" + id:               {http.StatusNotFound, "../"},
		"/realtime/app/" + id + "%2F..%2Fapp": {http.StatusNotFound, "../"},
	} {
		r := httptest.NewRequestWithContext(gone, http.MethodGet, target, nil)
		w := s.visit(r)
		if w.Code != want.status || !strings.Contains(w.Body.String(), `<header><a href="`+want.root+`">`) {
			t.Errorf("%s is answered with %d, and not %+v: %s", target, w.Code, want, w.Body)
		}
	}
}
