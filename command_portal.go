package realtime

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
	cmd := adminCommand("portal", "Opens the portal to a browser on this machine", 0, openPortal)
	cmd.Long = `Opens the portal to a browser on this machine, until it is interrupted.

Caddy's admin endpoint refuses pages that are opened from a browser's address
line, and no browser reaches a unix socket. This serves the endpoint's portal,
and nothing else of it, on a port of the loopback interface to whoever has the
link that it prints.`
	cmd.Flags().Uint16("port", 0, "Port to listen on; any free one unless given")
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
	c.note("Open this in a browser on this machine; Ctrl-C ends it.")
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
		err := server.Close() // live streams do not end by themselves
		if e := <-ended; !errors.Is(e, http.ErrServerClosed) {
			return e
		}
		return err
	}
}

// A portalProxy passes requests on to the portal of an admin endpoint, from a
// browser that has the token. It stands in for the endpoint's own checks, which
// see a client of Caddy's and no browser.
type portalProxy struct {
	host    string // its own
	token   string
	cookie  string // the cookie's name: all ports of a host share their cookies
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
		dial, _, _ = strings.Cut(addr.Host, "|") // behind it are permissions
		to.Host = "127.0.0.1"
	}
	_, port, err := net.SplitHostPort(host)
	if err != nil {
		return nil, err
	}
	p := &portalProxy{host: host, token: rand.Text(), cookie: "realtime_portal_" + port, forgery: http.NewCrossOriginProtection()}
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
			if !addr.IsUnixNetwork() { // there, the endpoint takes none
				r.Out.Header.Set("Origin", to.String())
			}
		},
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, addr.Network, dial)
			},
		},
		ModifyResponse: func(answer *http.Response) error {
			answer.Header.Del("Access-Control-Allow-Origin") // is for the endpoint's own
			answer.Header.Del("Cache-Control")               // is set already
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, "Caddy's admin endpoint does not answer: "+err.Error()+".", http.StatusBadGateway)
		},
	}
	return p, nil
}

// link lets a browser in.
func (p *portalProxy) link() string { return "http://" + p.host + "/?token=" + p.token }

// ServeHTTP implements http.Handler.
func (p *portalProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	switch {
	case r.Host != p.host: // a name that was made to point here
		http.Error(w, "This is only for "+p.host+".", http.StatusForbidden)
	case p.forgery.Check(r) != nil:
		http.Error(w, "This comes from a page of another origin.", http.StatusForbidden)
	case r.URL.Path == "/" && p.isToken(r.URL.Query().Get("token")):
		//nolint:gosec // over plain HTTP, a browser does not send a Secure one
		http.SetCookie(w, &http.Cookie{Name: p.cookie, Value: p.token, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
		http.Redirect(w, r, "/realtime/", http.StatusSeeOther)
	case !p.knows(r):
		http.Error(w, "Open the link that caddy realtime portal has printed.", http.StatusForbidden)
	case r.URL.Path == "/":
		http.Redirect(w, r, "/realtime/", http.StatusSeeOther)
	case r.URL.Path == "/realtime/" || strings.HasPrefix(r.URL.Path, "/realtime/app/") && path.Clean(r.URL.Path+"x") == r.URL.Path+"x":
		// Else the server takes the rest of a form from the proxy before it lets
		// it answer, even where that is only the form's end, and the proxy cuts
		// off an endpoint to which it could not send all.
		_ = http.NewResponseController(w).EnableFullDuplex()
		p.proxy.ServeHTTP(w, r)
	default: // what else the endpoint has can do more than the portal
		http.NotFound(w, r)
	}
}

func (p *portalProxy) knows(r *http.Request) bool {
	cookie, err := r.Cookie(p.cookie)
	return err == nil && p.isToken(cookie.Value)
}

func (p *portalProxy) isToken(text string) bool {
	return subtle.ConstantTimeCompare([]byte(text), []byte(p.token)) == 1
}
