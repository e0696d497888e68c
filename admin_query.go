package realtime

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Pages of a list.
const (
	defaultPage = 100
	maxPage     = 1000
)

// checkQuery refuses query parameters that a path does not take, and those that
// are there more than once. A misspelled filter would otherwise answer with
// everything.
func checkQuery(r *http.Request, known []string) error {
	if r.URL.RawQuery == "" {
		return nil
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return errInvalidRequest("The query string is malformed: %s.", err)
	}
	for name, values := range query {
		switch {
		case !slices.Contains(known, name) && len(known) == 0:
			return errInvalidRequest("There is no query parameter %s here. This path takes none.", quote(name))
		case !slices.Contains(known, name):
			return errInvalidRequest("There is no query parameter %s here. This path takes: %s.", quote(name), strings.Join(known, ", "))
		case len(values) > 1:
			return errInvalidRequest("The query parameter %s is there %d times. Send it once.", name, len(values))
		}
	}
	return nil
}

// pageLimit is how many entries a page has.
func pageLimit(query url.Values) (int, error) {
	text := query.Get("limit")
	if text == "" {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxPage {
		return 0, errInvalidRequest("limit is a number from 1 to %d.", maxPage)
	}
	return n, nil
}

// pageAfter is where a page begins: "" is at the start of the list. valid knows
// the places that a page before can have named.
func pageAfter(query url.Values, valid func(string) bool) (string, error) {
	after := query.Get("after")
	if after != "" && !valid(after) {
		return "", errInvalidRequest("after is %s, which no page has named. Send what the page before has as next.", quote(after))
	}
	return after, nil
}
