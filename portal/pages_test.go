package portal

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

const hostile = `"><script>alert(1)</script><b x='`

func render(t *testing.T, page templateName, v pageView) string {
	t.Helper()
	pages, err := newPages()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := pages.write(&b, page, v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPagesEscapeWhatTheyShow(t *testing.T) {
	type app struct {
		ID, Name    string
		Enabled     bool
		Connections int
		Created     time.Time
	}
	for page, content := range map[templateName]any{
		appsTemplate: struct {
			Apps []app
			Next string
		}{[]app{{ID: hostile, Name: hostile}}, hostile},
		messageTemplate: hostile,
	} {
		text := render(t, page, pageView{Title: hostile, User: hostile, Notice: hostile, Refusal: hostile, Root: "./", Content: content})
		if !strings.HasPrefix(text, "<!doctype html>") || strings.Contains(text, "<script>") || strings.Count(text, "<script ") != 1 || strings.Contains(text, "<b ") {
			t.Errorf("%s: %s", page, text)
		}
	}
}

func TestTheDocsPageEscapesWhatItShows(t *testing.T) {
	page, err := NewDocsPage()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	err = page.Write(&b, Docs{Origin: hostile, PublishPath: hostile, SocketPath: hostile, ShowPath: true, RateLimit: hostile, MaxBody: hostile, MaxChannels: hostile, MessageRate: hostile})
	if err != nil {
		t.Fatal(err)
	}
	if text := b.String(); strings.Contains(text, "<script") || strings.Contains(text, "<b ") || !strings.HasSuffix(text, "</html>\n") {
		t.Error(text)
	}
}

func TestPoliciesAllowTheStyleAndScriptOfThePagesAndNoOther(t *testing.T) {
	pages, err := newPages()
	if err != nil {
		t.Fatal(err)
	}
	text := render(t, messageTemplate, pageView{Title: "t", Content: ""})
	for _, element := range []string{"style>", `script type="module">`} {
		_, rest, _ := strings.Cut(text, "<"+element)
		inside, _, found := strings.Cut(rest, "</"+strings.FieldsFunc(element, func(r rune) bool { return r == ' ' || r == '>' })[0])
		if !found || !strings.Contains(pages.policy, hashSource(inside)) {
			t.Errorf("the policy %s does not have the hash of <%s", pages.policy, element)
		}
	}
	if strings.Contains(pages.policy, "unsafe") {
		t.Error(pages.policy)
	}
}
