package manage_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/seed-c079cc48/caddy-realtime/manage"
	"github.com/seed-c079cc48/caddy-realtime/portal"
)

// A tree is openapi.yaml, or a part of it.
type tree map[string]any

func readDocument(t *testing.T) tree {
	t.Helper()
	text, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var document tree
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	return document
}

// at is what is under names in a part of the document, references followed.
func (document tree) at(t *testing.T, part tree, names ...string) tree {
	t.Helper()
	for _, name := range names {
		next, ok := part[name].(tree)
		if !ok {
			t.Fatalf("openapi.yaml has no %s", strings.Join(names, " "))
		}
		if ref, ok := next["$ref"].(string); ok && len(next) == 1 {
			next = document.at(t, document, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
		}
		part = next
	}
	return part
}

// codesOf collects the codes of errors in a schema, which are in the enums.
func codesOf(schema any) (codes []string) {
	switch schema := schema.(type) {
	case tree:
		for name, value := range schema {
			if list, ok := value.([]any); ok && name == "enum" {
				for _, code := range list {
					codes = append(codes, code.(string))
				}
				continue
			}
			codes = append(codes, codesOf(value)...)
		}
	case []any:
		for _, value := range schema {
			codes = append(codes, codesOf(value)...)
		}
	}
	return codes
}

var methods = []string{"get", "put", "post", "delete", "options", "head", "patch"}

// documentedErrors are what openapi.yaml has of errors, as "401 missing_key".
func documentedErrors(t *testing.T, document tree) []string {
	t.Helper()
	var errors []string
	add := func(status string, response tree) {
		if status < "400" {
			return
		}
		for _, code := range codesOf(document.at(t, response, "content", "application/json", "schema")) {
			errors = append(errors, status+" "+code)
		}
	}
	for path, item := range document.at(t, document, "paths") {
		for _, method := range methods {
			if _, ok := item.(tree)[method]; !ok {
				continue
			}
			for status := range document.at(t, document, "paths", path, method, "responses") {
				add(status, document.at(t, document, "paths", path, method, "responses", status))
			}
		}
	}
	add("405", document.at(t, document, "components", "responses", "MethodNotAllowed")) // which is of no operation
	slices.Sort(errors)
	return slices.Compact(errors)
}

// madeErrors are what a file of apierr makes of errors, in the same words; those
// that only sockets get have no status.
func madeErrors(t *testing.T, file string) (errors []string) {
	t.Helper()
	source, err := os.ReadFile("../internal/apierr/" + file)
	if err != nil {
		t.Fatal(err)
	}
	status := map[string]string{"0": ""}
	for n := http.StatusBadRequest; n < 600; n++ {
		status["http.Status"+strings.ReplaceAll(http.StatusText(n), " ", "")] = strconv.Itoa(n) + " "
	}
	for _, made := range regexp.MustCompile(`newError\(([\w.]+),\s*"([a-z_]+)"`).FindAllStringSubmatch(string(source), -1) {
		n, ok := status[made[1]]
		if !ok {
			t.Fatalf("%s is of the status %s", made[2], made[1])
		}
		errors = append(errors, n+made[2])
	}
	slices.Sort(errors)
	return slices.Compact(errors)
}

func TestOpenAPIHasTheErrorsThatThereAre(t *testing.T) {
	document := readDocument(t)
	documented := documentedErrors(t, document)
	socket := func(e string) bool { return !strings.Contains(e, " ") }
	made := madeErrors(t, "table.go")
	ofTokens := madeErrors(t, "token.go")
	if len(made) < 20 || len(ofTokens) < 6 {
		t.Fatalf("only found %v, %v", made, ofTokens)
	}
	if want := slices.DeleteFunc(slices.Clone(made), socket); !slices.Equal(documented, want) {
		t.Errorf("openapi.yaml has the errors\n%s, but there are\n%s", strings.Join(documented, ", "), strings.Join(want, ", "))
	}

	// What publishing and subscribing may meet is told to those who watch.
	refused := codesOf(document.at(t, document, "components", "schemas", "Refused", "properties", "code"))
	slices.Sort(refused)
	for _, e := range ofTokens { // sockets get them, though they have a status
		made = append(made, e[strings.LastIndexByte(e, ' ')+1:])
	}
	var guide []string
	for _, e := range portal.Errors() {
		if e.Code != "not_found" { // a publish that comes to another path is not seen
			guide = append(guide, e.Code)
		}
		if e.Status > 0 && !slices.Contains(made, strconv.Itoa(e.Status)+" "+e.Code) || e.Status == 0 && !slices.Contains(made, e.Code) {
			t.Errorf("the documentation page has %s with the status %d, which nobody makes", e.Code, e.Status)
		}
	}
	slices.Sort(guide)
	if !slices.Equal(refused, guide) {
		t.Errorf("the live stream's codes are\n%v, but the documentation page has\n%v", refused, guide)
	}
}

func TestOpenAPIHasTheRoutesThatThereAre(t *testing.T) {
	document := readDocument(t)
	documented := make(map[string]string)
	for path := range document.at(t, document, "paths") {
		item := document.at(t, document, "paths", path)
		var allow []string
		for _, method := range methods {
			if _, ok := item[method]; ok {
				allow = append(allow, strings.ToUpper(method))
			}
		}
		if slices.Contains(allow, http.MethodGet) {
			allow = append(allow, http.MethodHead)
		}
		slices.Sort(allow)
		documented[anyNames(path)] = strings.Join(allow, ", ")
	}
	if documented["/publish"] != "OPTIONS, POST" {
		t.Errorf("/publish takes %s in openapi.yaml", documented["/publish"])
	}
	delete(documented, "/publish")
	for _, part := range []string{"/members", "/messages"} { // the route's rest has them
		path := anyNames("/realtime/channels/{app}/{channel}" + part)
		if documented[path] != "GET, HEAD" {
			t.Errorf("%s takes %s in openapi.yaml", path, documented[path])
		}
		delete(documented, path)
	}
	for _, route := range new(manage.API).Routes() {
		if route.Pattern == "/realtime/" { // what there is not
			continue
		}
		w := httptest.NewRecorder()
		if err := route.Handler.ServeHTTP(w, httptest.NewRequest("BREW", "/", nil)); err != nil {
			t.Fatal(err)
		}
		allow := strings.Split(w.Header().Get("Allow"), ", ")
		slices.Sort(allow)
		path := anyNames(route.Pattern)
		if takes := strings.Join(allow, ", "); documented[path] != takes {
			t.Errorf("%s takes %s, but %q in openapi.yaml", route.Pattern, takes, documented[path])
		}
		delete(documented, path)
	}
	for path := range documented {
		t.Errorf("openapi.yaml has %s, which there is not", path)
	}
}

// anyNames makes paths the same that differ in their parameters' names.
func anyNames(path string) string {
	return regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(path, "{}")
}
