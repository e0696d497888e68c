// Package portal has the pages for people.
package portal

import (
	_ "embed"
	"html/template"
	"io"
	"strings"
)

// A DocsPage is the documentation page, ready to be filled in.
type DocsPage struct {
	template *template.Template
	policy   string
	errors   []Error
}

// NewDocsPage reads the page. It fails only where the page itself is wrong.
func NewDocsPage() (*DocsPage, error) {
	page, err := template.New("docs").Parse(docsText)
	if err != nil {
		return nil, err
	}
	_, rest, _ := strings.Cut(docsText, "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	policy := "default-src 'none'; style-src " + hashSource(style) + "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return &DocsPage{template: page, policy: policy, errors: Errors()}, nil
}

// Policy is the page's Content-Security-Policy: its own style and nothing else.
func (p *DocsPage) Policy() string { return p.policy }

// Write writes the page as HTML. It needs no script and nothing from
// elsewhere.
func (p *DocsPage) Write(w io.Writer, d Docs) error {
	return p.template.Execute(w, struct {
		Docs
		Errors      []Error
		NodePublish string
	}{d, p.errors, nodePublish(d.PublishPath)})
}

// Docs is what the documentation page of one site says of it.
type Docs struct {
	// Origin is the site's, such as https://example.com.
	Origin string

	// PublishPath and SocketPath are the site's endpoints, as URLPath writes
	// them; ShowPath says that the latter is not what clients use by themselves.
	PublishPath, SocketPath string
	ShowPath                bool

	// RateLimit, MaxBody and MaxChannels are the limits of an app that has none
	// of its own, in words.
	RateLimit, MaxBody, MaxChannels string

	// MessageRate is the limit of a client's packets, in words.
	MessageRate string
}

//go:embed docs.html
var docsText string
