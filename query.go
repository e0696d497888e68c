package realtime

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// readQuery returns a request's query. It refuses a parameter that is not
// known, or is there twice: to ignore one answers another question than the one
// that was asked.
func readQuery(r *http.Request, known ...string) (url.Values, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, errInvalidRequest("The query could not be read: %s.", err)
	}
	for name, values := range query {
		switch {
		case !slices.Contains(known, name) && len(known) == 0:
			return nil, errInvalidRequest("Unknown parameter %s. This takes none.", quote(name))
		case !slices.Contains(known, name):
			return nil, errInvalidRequest("Unknown parameter %s. This takes: %s.", quote(name), strings.Join(known, ", "))
		case len(values) > 1:
			return nil, errInvalidRequest("%s is there twice. Send it once.", name)
		}
	}
	return query, nil
}

// errNotAPlace is for an "after" that is no page's next.
func errNotAPlace(after string) error {
	return errInvalidRequest("after is %s. Send the next of the page before, or leave it out for the first page.", quote(after))
}
