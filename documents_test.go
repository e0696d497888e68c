package realtime

import (
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentsNameTestsThatThereAre holds the promises of the documents to
// the tests that they name.
func TestDocumentsNameTestsThatThereAre(t *testing.T) {
	known := make(map[string]bool)
	tests := regexp.MustCompile(`(?m)^func (Test\w+|Fuzz\w+)\(`)
	err := fs.WalkDir(os.DirFS("."), ".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == ".git"):
			return fs.SkipDir
		case strings.HasSuffix(path, ".test.mjs"):
			known[path] = true
		case strings.HasSuffix(path, "_test.go"):
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, match := range tests.FindAllStringSubmatch(string(text), -1) {
				known[match[1]] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w+|tests/[\\w/-]+\\.test\\.mjs)`")
	for _, document := range []string{"README.md", "DEVELOPERS.md", "SECURITY.md", "FAULTS.md"} {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range named.FindAllStringSubmatch(string(text), -1) {
			if !known[match[1]] {
				t.Errorf("%s names %s, which there is not", document, match[1])
			}
		}
	}
}
