package realtime

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/portal"
)

// codesIn are what a file's matches capture, each once, in order.
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
	readme := codesIn(t, "README.md", "(?m)^\\| `([a-z_]+)` \\| (?:[0-9]+|socket) \\|")
	for _, code := range append(made, "not_allowed") {
		if !slices.Contains(readme, code) {
			t.Errorf("README has no %s", code)
		}
		if code != "precondition_failed" && !slices.Contains(guide, code) { // that is the admin API's
			t.Errorf("the documentation page has no %s", code)
		}
	}
	for _, code := range guide {
		if !slices.Contains(readme, code) {
			t.Errorf("README has no %s, but the documentation page has", code)
		}
	}
}
