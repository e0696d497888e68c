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

// A templateName identifies one of the portal's pages.
type templateName string

// The pages, with the type of pageView.Content for each.
const (
	appsTemplate    templateName = "apps"     // a page of the list of apps: Apps and Next
	appTemplate     templateName = "app"      // one app, see app.html
	hooksTemplate   templateName = "webhooks" // the webhooks of an app: hooksPage
	usersTemplate   templateName = "users"    // the users of an app: usersPage
	membersTemplate templateName = "members"  // the members of a channel: membersPage
	messageTemplate templateName = "message"  // a text to copy, or ""
)

// pages are the portal's parsed templates. Each response contains the whole page:
// browsers cannot load scripts and styles from Caddy's admin endpoint, which refuses
// their requests.
type pages struct {
	templates map[templateName]*template.Template

	// policy is the Content-Security-Policy: it allows the pages' own style and
	// script, and requests and forms to the same origin.
	policy string
}

// A pageView is the data of a page.
type pageView struct {
	Title string

	// Root is the URL of the list of apps, relative to the page.
	Root string

	// User is the user's name, or "" if it is not known.
	User string

	// Form is the ID of the page's forms, so that none makes a key twice.
	Form string

	// Silence says what the page lacks, because machines do not answer, or is "".
	Silence string

	// Notice reports a completed action, Refusal why one was refused.
	Notice, Refusal string

	Content any
}

//go:embed layout.html
var layoutText string

//go:embed apps.html
var appsText string

//go:embed app.html
var appText string

//go:embed rules.html
var rulesText string

//go:embed tokens.html
var tokensText string

//go:embed webhooks.html
var hooksText string

//go:embed users.html
var usersText string

//go:embed members.html
var membersText string

//go:embed message.html
var messageText string

//go:embed portal.css
var styleText string

//go:embed portal.js
var scriptText string

// sharedText has the templates that several pages use. "pages" links the pages of an
// app; it is executed with a pageView whose Content has an App.
const sharedText = `{{define "time"}}<time datetime="{{rfc3339 .}}">{{minute .}}</time>{{end}}
{{- define "seconds"}}<time datetime="{{rfc3339 .}}">{{second .}}</time>{{end}}
{{- define "pages"}}{{$to := print .Root "app/" .Content.App.ID}}<nav aria-label="Pages of this app"><a href="{{$to}}">{{.Content.App.Name}}</a> <a href="{{$to}}/webhooks">Webhooks</a> <a href="{{$to}}/users">Users</a></nav>{{end}}`

// newPages parses the templates. It fails only if they are invalid.
func newPages() (*pages, error) {
	layout, err := template.New("layout").Funcs(template.FuncMap{
		"title":   func(s any) string { return upperFirst(fmt.Sprint(s)) },
		"rfc3339": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"minute":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") },
		"second":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	}).Parse(layoutText)
	if err != nil {
		return nil, err
	}
	p := &pages{templates: make(map[templateName]*template.Template)}
	for page, text := range map[templateName]string{
		appsTemplate:    appsText,
		appTemplate:     appText + rulesText + tokensText,
		hooksTemplate:   hooksText,
		usersTemplate:   usersText,
		membersTemplate: membersText,
		messageTemplate: messageText,
	} {
		if p.templates[page], err = template.Must(layout.Clone()).Parse(text + sharedText); err != nil {
			return nil, err
		}
	}
	p.policy = "default-src 'none'; style-src " + hashSource(styleText) + "; script-src " + hashSource(scriptText) +
		"; connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	return p, nil
}

// write writes a page as HTML.
func (p *pages) write(w io.Writer, page templateName, v pageView) error {
	return p.templates[page].Execute(w, struct {
		pageView
		Style  template.CSS
		Script template.JS
	}{v, template.CSS(styleText), template.JS(scriptText)}) //nolint:gosec // our own files
}

// hashSource returns the CSP source for an inline element with this text.
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
