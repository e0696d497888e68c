package realtime

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDocumentsNameTestsThatThereAre checks that the tests named by the documents'
// promises exist.
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
	for _, document := range append(documents(t), "README.md") {
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

// TestDocumentsRunWhatThereIs checks that the packages, benchmarks and targets in the
// documents' commands exist.
func TestDocumentsRunWhatThereIs(t *testing.T) {
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	var (
		goTest     = regexp.MustCompile("go test [^`\n]+")
		directory  = regexp.MustCompile(`\./[\w/]+`)
		bench      = regexp.MustCompile(`-bench (\w+) `)
		makeTarget = regexp.MustCompile("(?m)(?:^|`)make ([a-z][a-z/-]*)")
	)
	for _, document := range documents(t) {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, command := range goTest.FindAllString(string(text), -1) {
			for _, dir := range directory.FindAllString(command, -1) {
				sources, err := filepath.Glob(dir + "/*_test.go")
				if err != nil || len(sources) == 0 {
					t.Errorf("%s runs %q, but %s has no tests: %v", document, command, dir, err)
					continue
				}
				for _, match := range bench.FindAllStringSubmatch(command, -1) {
					if !anyFileHas(t, sources, "func Benchmark"+match[1]) {
						t.Errorf("%s runs %q, but %s has no such benchmark", document, command, dir)
					}
				}
			}
		}
		for _, match := range makeTarget.FindAllStringSubmatch(string(text), -1) {
			if !regexp.MustCompile(`(?m)^` + match[1] + `:`).Match(makefile) {
				t.Errorf("%s runs make %s, but the Makefile has no such target", document, match[1])
			}
		}
	}
}

// documents returns the pages apart from README.
func documents(t *testing.T) []string {
	t.Helper()
	pages, err := filepath.Glob("docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatal(pages, err)
	}
	return append(pages, "CHANGELOG.md", "DEVELOPERS.md", "SECURITY.md", "FAULTS.md")
}

func anyFileHas(t *testing.T, files []string, text string) bool {
	t.Helper()
	return slices.ContainsFunc(files, func(file string) bool {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(source), text)
	})
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
