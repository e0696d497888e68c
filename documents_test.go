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
	examples := map[string]bool{"^$": true, "TestName": true, "FuzzName/0123456789abcdef": true}
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w+)`|(tests/[\\w/-]+\\.test\\.mjs)")
	commands := regexp.MustCompile("go test [^`\n]*-run (?:'([^']*)'|([^'`\\s]+))")
	for _, document := range []string{"README.md", "DEVELOPERS.md", "SECURITY.md", "FAULTS.md"} {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range named.FindAllStringSubmatch(string(text), -1) {
			if name := match[1] + match[2]; !known[name] {
				t.Errorf("%s names %s, which does not exist", document, name)
			}
		}
		for _, match := range commands.FindAllStringSubmatch(string(text), -1) {
			for pattern := range strings.SplitSeq(strings.ReplaceAll(match[1]+match[2], `\|`, "|"), "|") {
				if !examples[pattern] && !matchesAny(t, pattern, known) {
					t.Errorf("%s runs %q, which matches no test: %s", document, pattern, match[0])
				}
			}
		}
	}
}

// matchesAny reports whether go test -run would run one of the tests.
func matchesAny(t *testing.T, pattern string, tests map[string]bool) bool {
	t.Helper()
	re, err := regexp.Compile(pattern)
	if err != nil {
		t.Error(err)
		return false
	}
	for name := range tests {
		if re.MatchString(name) {
			return true
		}
	}
	return false
}
