package realtime

import (
	"cmp"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/dustin/go-humanize"

	"github.com/seed-c079cc48/caddy-realtime/access"
	"github.com/seed-c079cc48/caddy-realtime/internal/bounds"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
)

// validate checks the settings once their defaults are filled in.
func (s *Settings) validate() error {
	if s.RateLimit != nil {
		if err := bounds.CheckRate("rate_limit", s.RateLimit.Publishes, time.Duration(s.RateLimit.Window)); err != nil {
			return err
		}
	}
	for _, v := range []struct {
		name string
		rate *Rate
	}{
		{"connect_rate", s.ConnectRate},
		{"message_rate", s.MessageRate},
		{"auth_failures", s.AuthFailures},
	} {
		if err := v.rate.validate(v.name); err != nil {
			return err
		}
	}
	for _, v := range []struct {
		name  string
		value caddy.Duration
	}{
		{"ping_interval", s.PingInterval},
		{"ping_timeout", s.PingTimeout},
		{"connect_timeout", s.ConnectTimeout},
		{"write_timeout", s.WriteTimeout},
		{"body_timeout", s.BodyTimeout},
	} {
		if err := bounds.CheckDuration(v.name, time.Duration(v.value)); err != nil {
			return err
		}
	}
	if s.Drain != nil {
		if err := checkDrain(*s.Drain); err != nil {
			return err
		}
	}
	if err := bounds.CheckSize("max_body", s.MaxBody); err != nil {
		return err
	}
	if err := bounds.CheckSize("max_queue", s.MaxQueue); err != nil {
		return err
	}
	if s.MaxQueue < s.MaxBody {
		return fmt.Errorf("max_queue (%s) is less than max_body (%s): a message of that size could not be delivered; raise max_queue or lower max_body",
			humanize.IBytes(uint64(s.MaxQueue)), humanize.IBytes(uint64(s.MaxBody)))
	}
	if err := checkPacket(s.MaxPacket); err != nil {
		return err
	}
	if err := bounds.CheckCount("max_connecting", s.MaxConnecting); err != nil {
		return err
	}
	if s.MaxConnections != nil {
		if err := bounds.CheckLimit("max_connections", *s.MaxConnections); err != nil {
			return err
		}
	}
	if err := bounds.CheckLimit("max_connections_per_ip", s.MaxConnectionsPerIP); err != nil {
		return err
	}
	return bounds.CheckCount("max_channels", s.MaxChannels)
}

// validate checks a rate, which may be nil.
func (r *Rate) validate(name string) error {
	if r == nil {
		return nil
	}
	return bounds.CheckRate(name, r.Count, time.Duration(r.Window))
}

// validate checks the handler; a path that is empty is its default.
func (h *Handler) validate() error {
	publish, socket := cmp.Or(h.PublishPath, defaultPublishPath), cmp.Or(h.SocketPath, defaultSocketPath)
	paths := []struct{ name, value string }{{"publish_path", publish}, {"socket_path", socket}}
	if h.DocsPath != "" {
		paths = append(paths, struct{ name, value string }{"docs_path", h.DocsPath})
	}
	for i, p := range paths {
		if err := checkPath(p.name, p.value); err != nil {
			return err
		}
		for _, other := range paths[:i] {
			if strings.TrimSuffix(other.value, "/") == strings.TrimSuffix(p.value, "/") {
				return fmt.Errorf("%s and %s are both %s; give each its own path", other.name, p.name, p.value)
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

// checkPath takes what a request's decoded path can equal.
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

// checkDrain lets the drain be 0 or, as older configurations have it,
// negative, which is no drain.
func checkDrain(d caddy.Duration) error {
	if time.Duration(d) > bounds.MaxDuration {
		return fmt.Errorf("drain is %s; it must be from 0s to %s", text.ShortDuration(time.Duration(d)), text.ShortDuration(bounds.MaxDuration))
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

func checkPacket(n int64) error {
	if n < minPacket || n > maxPacket {
		return fmt.Errorf("max_packet is %d bytes; it must be from %s to %s", n, humanize.IBytes(minPacket), humanize.IBytes(maxPacket))
	}
	return nil
}
