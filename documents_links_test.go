package realtime

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

// markdownFiles returns the text of all Markdown files by path.
func markdownFiles(t *testing.T) map[string]string {
	t.Helper()
	texts := make(map[string]string)
	err := fs.WalkDir(os.DirFS("."), ".", func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == ".git" || file == "build" || file == "run"):
			return fs.SkipDir
		case entry.IsDir() || path.Ext(file) != ".md":
			return nil
		}
		text, err := os.ReadFile(file)
		texts[file] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

// prose returns a document without its code, in which nothing is a link or a heading.
func prose(text string) string {
	text = regexp.MustCompile("(?ms)^[ \t]*```.*?^[ \t]*```[ \t]*$").ReplaceAllString(text, "")
	return regexp.MustCompile("`[^`\n]*`").ReplaceAllStringFunc(text, func(code string) string {
		return strings.NewReplacer("](", "] (", "`", "").Replace(code)
	})
}

// anchors returns the fragments that GitHub generates for a document's headings.
func anchors(text string) map[string]bool {
	found := make(map[string]bool)
	link := regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	unwanted := regexp.MustCompile(`[^\p{L}\p{N}_\- ]`)
	for _, match := range regexp.MustCompile(`(?m)^#{1,6} +(.+)$`).FindAllStringSubmatch(prose(text), -1) {
		heading := strings.TrimSpace(strings.ToLower(link.ReplaceAllString(match[1], "$1")))
		found[strings.ReplaceAll(unwanted.ReplaceAllString(heading, ""), " ", "-")] = true
	}
	return found
}

// brokenLink describes what is wrong with a link to another place in the repository,
// or returns "".
func brokenLink(texts map[string]string, document, target string) string {
	file, fragment, _ := strings.Cut(target, "#")
	to := document
	if file != "" {
		to = path.Join(path.Dir(document), file)
	}
	if _, err := os.Stat(to); err != nil {
		return to + " does not exist"
	}
	if text, ok := texts[to]; ok && fragment != "" && !anchors(text)[fragment] {
		return to + " has no heading #" + fragment
	}
	return ""
}

func TestLinksOfDocumentsLeadSomewhere(t *testing.T) {
	texts := markdownFiles(t)
	links := regexp.MustCompile(`\]\(([^()\s]+)\)`)
	for document, text := range texts {
		for _, match := range links.FindAllStringSubmatch(prose(text), -1) {
			if strings.Contains(match[1], "://") || strings.HasPrefix(match[1], "mailto:") {
				continue
			}
			if fault := brokenLink(texts, document, match[1]); fault != "" {
				t.Errorf("%s links to %s: %s", document, match[1], fault)
			}
		}
	}
}

func TestBrokenLinksAreFound(t *testing.T) {
	texts := map[string]string{"README.md": "# One, two\n## `a` and [b](c.md)\n```\n# no heading\n```\n", "docs/publish.md": ""}
	for target, fault := range map[string]string{
		"#one-two": "", "README.md#a-and-b": "", "docs/publish.md": "",
		"#three": "no heading", "README.md#no-heading": "no heading", "nowhere.md": "does not exist",
	} {
		if got := brokenLink(texts, "README.md", target); got != fault && (fault == "" || !strings.Contains(got, fault)) {
			t.Errorf("%s: %q, want %q", target, got, fault)
		}
	}
	if got := brokenLink(texts, "docs/publish.md", "../README.md#one-two"); got != "" {
		t.Error(got)
	}
}
