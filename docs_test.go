package realtime

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/portal"
)

// codesIn returns the unique matches in a file, sorted.
func codesIn(t *testing.T, file, pattern string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
		codes = append(codes, match[1])
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

// errorsTable returns the document with the table of errors, and the codes in it.
func errorsTable(t *testing.T) (page string, codes []string) {
	t.Helper()
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(pages, "README.md") {
		found := codesIn(t, file, "(?m)^\\| `([a-z_]+)` \\| (?:[0-9]+|socket) \\|")
		if len(found) == 0 {
			continue
		}
		if page != "" {
			t.Errorf("both %s and %s have a table of errors", page, file)
		}
		page, codes = file, found
	}
	if page == "" {
		t.Fatal("no document has a table of errors")
	}
	return page, codes
}

func TestEveryCodeIsDocumented(t *testing.T) {
	var guide []string
	for _, e := range portal.Errors() {
		guide = append(guide, e.Code)
		if e.Cause == "" || e.Cure == "" {
			t.Errorf("%s has no cause or no cure", e.Code)
		}
	}
	slices.Sort(guide)
	made := codesIn(t, "internal/apierr/table.go", `newError\([^"]*"([a-z_]+)"`)
	if len(made) < 20 {
		t.Fatalf("only found %v", made)
	}
	ofTokens := codesIn(t, "internal/apierr/token.go", `newError\([^"]*"([a-z_]+)"`)
	if len(ofTokens) < 6 {
		t.Fatalf("only found %v", ofTokens)
	}
	made = append(made, ofTokens...)
	made = append(made, "not_allowed") // only in a socket's acknowledgements
	page, table := errorsTable(t)
	for _, code := range table {
		if !slices.Contains(made, code) {
			t.Errorf("%s has %s, which no error has", page, code)
		}
	}
	for _, code := range made {
		if !slices.Contains(table, code) {
			t.Errorf("%s has no %s", page, code)
		}
		if code != "precondition_failed" && !slices.Contains(guide, code) { // admin API only
			t.Errorf("the documentation page has no %s", code)
		}
	}
	for _, code := range guide {
		if !slices.Contains(table, code) {
			t.Errorf("%s has no %s, but the documentation page has", page, code)
		}
	}
}
