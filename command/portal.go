package command

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"
)

func portalCommand() *cobra.Command {
	cmd := adminCommand("portal", "Serves the portal to a browser on this machine", 0, openPortal)
	cmd.Long = `Serves the portal to a browser on this machine, until it is interrupted.

Caddy's admin endpoint refuses pages that are opened from a browser's address
line, and no browser reaches a unix socket. This serves the endpoint's portal,
and nothing else of it, on a port of the loopback interface to whoever has the
link that it prints. The link is valid until the command ends.`
	cmd.Flags().Uint16("port", 0, "Port to listen on; any free port by default")
	return cmd
}

func openPortal(c *adminClient, _ []string) error {
	if _, err := c.ask(http.MethodGet, "/realtime/apps?limit=1", nil); err != nil {
		return err
	}
	port, err := c.flags.GetUint16("port")
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)) //nolint:noctx // nothing to cancel
	if err != nil {
		return err
	}
	p, err := newPortalProxy(c.addr, listener.Addr().String())
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	c.note("Open this link in a browser on this machine. Press Ctrl-C to stop.")
	if _, err := fmt.Fprintln(c.out, p.link()); err != nil {
		return errors.Join(err, listener.Close())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server := &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		err := server.Close() // live streams do not end on their own
		if e := <-ended; !errors.Is(e, http.ErrServerClosed) {
			return e
		}
		return err
	}
}

// A portalProxy forwards requests to the portal of an admin endpoint, from a
// browser that has the link. It replaces the endpoint's own checks, which see a
// client of Caddy's rather than a browser.
//
// The secret is the first segment of every page's path, not a cookie: browsers
// send a cookie to every port of a host, and so to whatever else listens there.
// A path is sent to one port only, is in no Referer to another, and becomes
// invalid when the command ends.
type portalProxy struct {
	host    string // of the proxy itself
	secret  string
	forgery *http.CrossOriginProtection
	proxy   *httputil.ReverseProxy
}

func newPortalProxy(admin, host string) (*portalProxy, error) {
	addr, err := caddy.ParseNetworkAddress(admin)
	if err != nil {
		return nil, err
	}
	to := &url.URL{Scheme: "http", Host: addr.JoinHostPort(0)}
	dial := to.Host
	if addr.IsUnixNetwork() {
		dial, _, _ = strings.Cut(addr.Host, "|") // permissions follow
		to.Host = "127.0.0.1"
	}
	p := &portalProxy{host: host, secret: rand.Text(), forgery: http.NewCrossOriginProtection()}
	p.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = to.Host
			for name := range r.Out.Header {
				if strings.HasPrefix(name, "Sec-Fetch-") {
					r.Out.Header.Del(name)
				}
			}
			r.Out.Header.Del("Cookie")
			r.Out.Header.Del("Referer")
			r.Out.Header.Del("Origin")
			if !addr.IsUnixNetwork() { // on a unix socket, the endpoint accepts none
				r.Out.Header.Set("Origin", to.String())
			}
		},
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, addr.Network, dial)
			},
			ResponseHeaderTimeout: adminTimeout,
		},
		ModifyResponse: func(answer *http.Response) error {
			answer.Header.Del("Access-Control-Allow-Origin") // meant for the endpoint's own origin
			answer.Header.Del("Cache-Control")               // already set
			answer.Header.Del("Referrer-Policy")             // already set
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, "Caddy's admin endpoint does not answer: "+err.Error()+".", http.StatusBadGateway)
		},
	}
	return p, nil
}

// link returns the URL of the portal's root. Pages use relative links, so the
// secret stays in their paths.
func (p *portalProxy) link() string { return "http://" + p.host + "/" + p.secret + "/" }

// ServeHTTP implements http.Handler.
func (p *portalProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "same-origin") // a Referer to another port would contain the secret
	page, known := p.page(r.URL.EscapedPath())       // the portal's pages have no escapes in their paths
	switch {
	case r.Host != p.host: // DNS rebinding: another name that resolves here
		http.Error(w, "This is only for "+p.host+".", http.StatusForbidden)
	case !known:
		http.Error(w, "Open the link that caddy realtime portal printed.", http.StatusForbidden)
	case p.forgery.Check(r) != nil || fromElsewhere(r):
		http.Error(w, "This request comes from a page of another origin. Paste the link into the browser's address bar.", http.StatusForbidden)
	case page == "" || strings.HasPrefix(page, "app/") && !strings.Contains(page, "%") && path.Clean("/"+page+"x") == "/"+page+"x":
		// Without full duplex, the server consumes the rest of a form, even if
		// only its end is left, before the proxy can answer, and the proxy
		// drops its connection to an endpoint to which it could not send
		// everything.
		_ = http.NewResponseController(w).EnableFullDuplex()
		p.proxy.ServeHTTP(w, atPath(r, "/realtime/"+page))
	default: // the endpoint's other paths can do more than the portal
		http.NotFound(w, r)
	}
}

// page returns the part of a path after the secret, and whether the secret is
// correct.
func (p *portalProxy) page(path string) (string, bool) {
	secret, page, found := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return page, found && subtle.ConstantTimeCompare([]byte(secret), []byte(p.secret)) == 1
}

// fromElsewhere reports whether a page of another origin made a browser send
// the request. Unlike CrossOriginProtection, it does not exempt GET: other
// origins have no business with the link, even if they know it.
func fromElsewhere(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return site == "cross-site" || site == "same-site"
}

// atPath returns the request with a different path.
func atPath(r *http.Request, path string) *http.Request {
	moved, to := *r, *r.URL
	to.Path, to.RawPath = path, ""
	moved.URL = &to
	return &moved
}
