package realtime

import (
	"cmp"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/seed-c079cc48/caddy-realtime/access"
	"github.com/seed-c079cc48/caddy-realtime/internal/bounds"
)

// validate checks a rate, which may be nil.
func (r *Rate) validate(name string) error {
	if r == nil {
		return nil
	}
	return bounds.CheckRate(name, r.Count, time.Duration(r.Window))
}

// validate checks the handler. An empty path means its default.
func (h *Handler) validate() error {
	publish, socket := cmp.Or(h.PublishPath, defaultPublishPath), cmp.Or(h.SocketPath, defaultSocketPath)
	paths := []struct{ name, value string }{{"publish_path", publish}, {"socket_path", socket}}
	if h.DocsPath != "" {
		paths = append(paths, struct{ name, value string }{"docs_path", h.DocsPath})
	}
	if h.APIPath != "" {
		paths = append(paths, struct{ name, value string }{"api_path", h.APIPath})
	}
	for i, p := range paths {
		if err := checkPath(p.name, p.value); err != nil {
			return err
		}
		for _, other := range paths[:i] {
			if strings.TrimSuffix(other.value, "/") == strings.TrimSuffix(p.value, "/") {
				return fmt.Errorf("%s and %s are both %s; give each its own path", other.name, p.name, p.value)
			}
			if p.name == "api_path" && isBelow(other.value, p.value) {
				return fmt.Errorf("%s is %s, which is below api_path; give each its own path", other.name, other.value)
			}
		}
	}
	_, err := access.ParseOrigins(h.Origins)
	return err
}

const (
	defaultPublishPath = "/publish"
	defaultSocketPath  = "/socket.io"
)

// checkPath accepts paths that a request's decoded path can equal.
func checkPath(name, p string) error {
	switch {
	case !strings.HasPrefix(p, "/"):
		return fmt.Errorf("%s is %q; it must begin with /", name, p)
	case strings.ContainsAny(p, "?#"):
		return fmt.Errorf("%s is %q; it must be a path without query or fragment", name, p)
	case strings.ContainsAny(p, "*{}"):
		return fmt.Errorf("%s is %q; it must be one path without wildcards or placeholders", name, p)
	case strings.Contains(p, "%"):
		return fmt.Errorf("%s is %q; write it decoded, without %%", name, p)
	case strings.ContainsFunc(p, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return fmt.Errorf("%s is %q; it must not contain spaces or control characters", name, p)
	case p == "/" && name != "docs_path":
		return fmt.Errorf("%s is /, which is the site's front page; write for example %s", name, defaultPublishPath)
	case strings.TrimSuffix(p, "/") != strings.TrimSuffix(path.Clean(p), "/"):
		return fmt.Errorf("%s is %q; write %s", name, p, path.Clean(p))
	case p != "/" && strings.HasSuffix(p, "/") && name != "socket_path":
		return fmt.Errorf("%s is %q; write it without the trailing /", name, p)
	}
	return nil
}

// The bounds of max_packet. Credentials and the name of a channel fit into the
// least; the most is what a stranger may make the process keep of a message
// that never ends.
const (
	minPacket = 1 << 10
	maxPacket = 16 << 20
)

func checkPacket(name string, n int64) error {
	if n < minPacket || n > maxPacket {
		return fmt.Errorf("%s is %d bytes; it must be from %s to %s", name, n, humanize.IBytes(minPacket), humanize.IBytes(maxPacket))
	}
	return nil
}
