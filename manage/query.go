package manage

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
)

// CheckQuery rejects unknown and duplicate parameters: ignoring one would answer a
// different question.
func CheckQuery(r *http.Request, known ...string) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return apierr.InvalidRequest("The query could not be read: %s.", err)
	}
	for name, values := range query {
		switch {
		case !slices.Contains(known, name) && len(known) == 0:
			return apierr.InvalidRequest("Unknown parameter %s. No parameters are allowed here.", text.Quote(name))
		case !slices.Contains(known, name):
			return apierr.InvalidRequest("Unknown parameter %s. Allowed: %s.", text.Quote(name), strings.Join(known, ", "))
		case len(values) > 1:
			return apierr.InvalidRequest("%s is duplicated. Send it once.", name)
		}
	}
	return nil
}

// NotAPlace is the error for an "after" that is not a page's next.
func NotAPlace(after string) error {
	return apierr.InvalidRequest("after is %s. Send the previous page's next, or omit it for the first page.", text.Quote(after))
}
