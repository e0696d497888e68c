package redis

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestWarningsAreInTheDocuments looks for the beginning of each, up to the first punctuation.
func TestWarningsAreInTheDocuments(t *testing.T) {
	text, err := os.ReadFile("../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	warning := regexp.MustCompile(`log\.(?:Warn|Error)\("([^":;,]+)`)
	found := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range warning.FindAllStringSubmatch(string(source), -1) {
			found++
			if !strings.Contains(string(text), "`"+match[1]) {
				t.Errorf("%s: docs/operating.md lacks %q", file, match[1])
			}
		}
	}
	if found == 0 {
		t.Error("no warnings were found")
	}
}
