package command

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
)

// Limits of a list, for servers that are not a gateway: a million apps, and
// some 290,000 with two keys each.
const (
	maxPages = 7000
	maxList  = 256 << 20 // bytes
)

// listPage is how many entries are requested at a time: as many as fit into
// maxAdminAnswer, however large they are.
const listPage = 150

// pages reads a list page after page, at most maxList bytes in all. query is what
// selects the entries, and can be nil.
func (c *adminClient) pages(path string, query url.Values, read func(text []byte) error) error {
	query = maps.Clone(query)
	if query == nil {
		query = make(url.Values)
	}
	query.Set("limit", strconv.Itoa(listPage))
	for size, pages := 0, 1; ; pages++ {
		text, err := c.ask(http.MethodGet, path+"?"+query.Encode(), nil)
		if err != nil {
			return err
		}
		var page struct {
			Next *string `json:"next"`
		}
		if err := c.decode(text, &page); err != nil {
			return err
		}
		if err := read(text); err != nil {
			return err
		}
		size += len(text)
		switch {
		case page.Next == nil:
			return nil
		case *page.Next == "" || *page.Next == query.Get("after"):
			return fmt.Errorf("%s answers that the page after %q is the same page again; check --address", c.addr, *page.Next)
		case size > maxList || pages == cmp.Or(c.maxPages, maxPages):
			return fmt.Errorf("%s answers with a list that has not ended after %d pages and %d bytes; check --address", c.addr, pages, size)
		}
		query.Set("after", *page.Next)
	}
}
