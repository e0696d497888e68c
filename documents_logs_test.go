package realtime

import (
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// gatewayCode returns the code of the gateway, and docs/operating.md's section on its log.
func gatewayCode(t *testing.T) (code, logs string) {
	t.Helper()
	var all strings.Builder
	err := fs.WalkDir(os.DirFS("."), ".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains([]string{"node_modules", ".git", "tests", "bench", "examples"}, entry.Name()):
			return fs.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		all.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(page), "\n## Logs\n")
	logs, _, _ = strings.Cut(after, "\n## ")
	return regexp.MustCompile(`" ?\+\s*"`).ReplaceAllString(all.String(), ""), logs // texts of several lines
}

// TestLogLinesInTheDocumentsExist checks that the messages in docs/operating.md are in
// the code, where a message can continue.
func TestLogLinesInTheDocumentsExist(t *testing.T) {
	code, logs := gatewayCode(t)
	rows := regexp.MustCompile("(?m)^\\| (`.*?) \\| (?:info|warn|error)").FindAllStringSubmatch(logs, -1)
	if len(rows) < 20 {
		t.Fatalf("only found %q", rows)
	}
	for _, row := range rows {
		for _, match := range regexp.MustCompile("`(.*?)`").FindAllStringSubmatch(row[1], -1) {
			if !strings.Contains(code, match[1]) {
				t.Errorf("docs/operating.md has the log line %q, which the code has not", match[1])
			}
		}
	}
}

// TestWarningsAreInTheDocuments looks for the beginning of each warning and error that
// the gateway logs, up to the first punctuation.
func TestWarningsAreInTheDocuments(t *testing.T) {
	code, logs := gatewayCode(t)
	warnings := regexp.MustCompile(`(?:[lL]og|[lL]ogger)\.(?:Warn|Error)[(,]\s*"([^":;,]+)`).FindAllStringSubmatch(code, -1)
	if len(warnings) < 50 {
		t.Fatalf("only found %q", warnings)
	}
	for _, warning := range warnings {
		if !strings.Contains(logs, "`"+warning[1]) {
			t.Errorf("docs/operating.md lacks the log line %q", warning[1])
		}
	}
}
