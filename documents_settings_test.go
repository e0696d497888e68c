package realtime

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// documentedSetting is a row of docs/configuration.md.
type documentedSetting struct{ name, caddyfile, jsonName, json, bounds string }

// documentedSettings returns the rows of a section of the page, including its
// subsections.
func documentedSettings(t *testing.T, section string) []documentedSetting {
	t.Helper()
	page, err := os.ReadFile("docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(page), "\n## "+section+"\n")
	if !found {
		t.Fatalf("docs/configuration.md has no section %q", section)
	}
	text, _, _ := strings.Cut(after, "\n## ")
	var settings []documentedSetting
	row := regexp.MustCompile("(?m)^\\| `(\\w+) ?([^`]*)` \\| `\"(\\w+)\": ([^`]*)` \\| (.*?) \\|")
	for _, match := range row.FindAllStringSubmatch(text, -1) {
		settings = append(settings, documentedSetting{match[1], match[2], match[3], match[4], match[5]})
	}
	return settings
}

// TestConfigurationPageHasEverySettingWithItsDefaultAndBounds compares
// docs/configuration.md with the code, in both directions.
func TestConfigurationPageHasEverySettingWithItsDefaultAndBounds(t *testing.T) {
	for _, c := range []struct {
		section string
		module  reflect.Type
		forms   map[string]settingForms
		load    loader
	}{
		{"Global option", reflect.TypeFor[App](), globalForms(), loadGlobal},
		{"Directive", reflect.TypeFor[Handler](), siteForms(), loadSite},
		{"Portal on a site", reflect.TypeFor[Portal](), nil, loadPortal},
	} {
		var names []string
		for _, s := range documentedSettings(t, c.section) {
			names = append(names, s.name)
			if s.jsonName != s.name {
				t.Errorf("%s: the row of %s has the JSON name %s", c.section, s.name, s.jsonName)
			}
			checkDocumentedDefault(t, s, c.load)
			if form, ok := c.forms[s.name]; ok {
				checkDocumentedBounds(t, s, form)
			}
		}
		want := settingNames(c.module)
		slices.Sort(names)
		slices.Sort(want)
		if !slices.Equal(names, want) {
			t.Errorf("%s: the page has %v, the code %v", c.section, names, want)
		}
	}
}

// checkDocumentedDefault loads the value in a row, in both forms, and expects the same
// configuration as without it. A value in <…> has no fixed default.
func checkDocumentedDefault(t *testing.T, s documentedSetting, load loader) {
	t.Helper()
	if strings.Contains(s.caddyfile, "<") {
		return
	}
	unset, err := load("", "{}")
	if err != nil {
		t.Fatal(err)
	}
	for form, try := range map[string]func() (any, error){
		"Caddyfile": func() (any, error) { return load("x {\n"+s.name+" "+s.caddyfile+"\n}", "") },
		"JSON":      func() (any, error) { return load("", `{"`+s.name+`":`+s.json+`}`) },
	} {
		if got, err := try(); err != nil || !reflect.DeepEqual(got, unset) {
			t.Errorf("%s in %s: the page's default gives %+v, %v; the code's is %+v", s.name, form, got, err, unset)
		}
	}
}

// checkDocumentedBounds expects the minimum, the maximum and the value for no limit
// in a row. Paths, origins and modules have no such bounds.
func checkDocumentedBounds(t *testing.T, s documentedSetting, form settingForms) {
	t.Helper()
	least, most := form.min.caddyfile, form.max.caddyfile
	if s.name == "broker" {
		return
	}
	if strings.Contains(least, "/") || strings.Contains(most, "/") {
		return
	}
	if s.name == "drain" {
		least = form.none.caddyfile
	}
	if s.name == "webhook_targets" { // words
		if want := "`public` or `any`"; s.bounds != want {
			t.Errorf("%s: the range is %q, not %q", s.name, s.bounds, want)
		}
		return
	}
	if text := "`" + least + "` to `" + most + "`"; !strings.Contains(s.bounds, text) {
		t.Errorf("%s: the range is %q, which lacks %s", s.name, s.bounds, text)
	}
	if form.none != (forms{}) && !strings.Contains(s.bounds, "`"+form.none.caddyfile+"`") {
		t.Errorf("%s: the range is %q, which lacks `%s`", s.name, s.bounds, form.none.caddyfile)
	}
}

// TestLimitsPageHasTheDefaults compares the defaults in docs/operating.md's table of
// limits with the code.
func TestLimitsPageHasTheDefaults(t *testing.T) {
	page, err := os.ReadFile("docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| [^|]+ \\| `(\\w+)` ([0-9][\\w ]*?)(?:;| \\|)").FindAllStringSubmatch(string(page), -1)
	if len(rows) < 10 {
		t.Fatalf("only found %q", rows)
	}
	for _, row := range rows {
		if want := globalForms()[row[1]].def.caddyfile; row[2] != want {
			t.Errorf("the default of %s is %q, and %q in the table", row[1], want, row[2])
		}
	}
}
