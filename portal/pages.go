package portal

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"
)

// A Page names one of the portal's pages.
type Page string

// The pages, and what each shows as View.Content.
const (
	AppsPage    Page = "apps"    // a page of apps: Apps and Next
	AppPage     Page = "app"     // one app, see app.html
	MessagePage Page = "message" // a text to copy, or ""
)

// Pages are the portal's pages, ready to be filled in. Each is whole in one
// answer: browsers do not load scripts and styles from Caddy's admin endpoint,
// which refuses their requests.
type Pages struct {
	templates map[Page]*template.Template
	policy    string
}

// A View is what a page shows.
type View struct {
	Title string

	// Root is the way to the list of apps, relative to the page.
	Root string

	// User is who looks, "" if that is not known.
	User string

	// Form names the forms of this page, so that none makes a key twice.
	Form string

	// Notice is what was done, Refusal why it was not.
	Notice, Refusal string

	Content any
}

//go:embed layout.html
var layoutText string

//go:embed apps.html
var appsText string

//go:embed app.html
var appText string

//go:embed message.html
var messageText string

//go:embed portal.css
var styleText string

//go:embed portal.js
var scriptText string

const timeText = `{{define "time"}}<time datetime="{{rfc3339 .}}">{{minute .}}</time>{{end}}`

// NewPages reads the pages. It fails only where they themselves are wrong.
func NewPages() (*Pages, error) {
	layout, err := template.New("layout").Funcs(template.FuncMap{
		"title":   func(s any) string { return upperFirst(fmt.Sprint(s)) },
		"rfc3339": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"minute":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") },
	}).Parse(layoutText)
	if err != nil {
		return nil, err
	}
	p := &Pages{templates: make(map[Page]*template.Template)}
	for page, text := range map[Page]string{AppsPage: appsText, AppPage: appText, MessagePage: messageText} {
		if p.templates[page], err = template.Must(layout.Clone()).Parse(text + timeText); err != nil {
			return nil, err
		}
	}
	p.policy = "default-src 'none'; style-src " + hashSource(styleText) + "; script-src " + hashSource(scriptText) +
		"; connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	return p, nil
}

// Policy is the pages' Content-Security-Policy: their own style and script,
// requests and forms to where they are from, and nothing else.
func (p *Pages) Policy() string { return p.policy }

// Write writes a page as HTML.
func (p *Pages) Write(w io.Writer, page Page, v View) error {
	return p.templates[page].Execute(w, struct {
		View
		Style  template.CSS
		Script template.JS
	}{v, template.CSS(styleText), template.JS(scriptText)}) //nolint:gosec // files of ours
}

// hashSource is the CSP source of an element with this text.
func hashSource(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func upperFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
