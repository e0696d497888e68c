// Package portal renders the pages for people: the portal and the documentation.
package portal

import (
	_ "embed"
	"html/template"
	"io"
	"strings"
)

// A DocsPage is the parsed template of the documentation page.
type DocsPage struct {
	template *template.Template
	policy   string
	errors   []Error
}

// NewDocsPage parses the page. It fails only if the template itself is invalid.
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

// Policy is the page's Content-Security-Policy: it allows only the page's own style.
func (p *DocsPage) Policy() string { return p.policy }

// Write writes the page as HTML. The page needs no scripts and no external
// resources.
func (p *DocsPage) Write(w io.Writer, d Docs) error {
	return p.template.Execute(w, struct {
		Docs
		Errors      []Error
		NodePublish string
	}{d, p.errors, nodePublish(d.PublishPath)})
}

// Docs is the data of one site's documentation page.
type Docs struct {
	// Origin of the site, for example https://example.com.
	Origin string

	// PublishPath and SocketPath are the site's endpoints, encoded by URLPath.
	// ShowPath reports whether SocketPath differs from the clients' default.
	PublishPath, SocketPath string
	ShowPath                bool

	// RateLimit, MaxBody and MaxChannels describe the limits of an app without
	// limits of its own.
	RateLimit, MaxBody, MaxChannels string

	// MessageRate describes the limit on a client's packets.
	MessageRate string
}

//go:embed docs.html
var docsText string
