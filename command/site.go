package command

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// A siteAccount is a site and the credentials for it, as a backend or a client. A
// client can have a token, with or without a key.
type siteAccount struct{ origin, path, app, key, token string }

// siteFlags adds the flags for a siteAccount to a command. There is no flag for
// the key: it would end up in the shell's history and in process lists.
func siteFlags(cmd *cobra.Command, pathName, path string) {
	cmd.Flags().String("origin", "", "The site's origin, for example https://example.com (REALTIME_URL or REALTIME_SOCKET_URL)")
	cmd.Flags().String("path", path, "The site's "+pathName)
	cmd.Flags().String("app", "", "The app's id (REALTIME_APP_ID)")
}

// readSite reads flags and environment. The key comes from the given variable, and can
// be required; errors call it what.
func readSite(fl caddycmd.Flags, variable, what string, required bool) (siteAccount, error) {
	site := siteAccount{
		origin: cmp.Or(fl.String("origin"), cmp.Or(os.Getenv("REALTIME_URL"), os.Getenv("REALTIME_SOCKET_URL"))),
		path:   fl.String("path"),
		app:    cmp.Or(fl.String("app"), os.Getenv("REALTIME_APP_ID")),
		key:    os.Getenv(variable),
	}
	switch {
	case fl.String("origin") == "" && urlsDiffer(os.Getenv("REALTIME_URL"), os.Getenv("REALTIME_SOCKET_URL")):
		return site, fmt.Errorf("REALTIME_URL is %s and REALTIME_SOCKET_URL is %s: unset one of them, or use --origin",
			os.Getenv("REALTIME_URL"), os.Getenv("REALTIME_SOCKET_URL"))
	case site.origin == "":
		return site, errors.New("which site? Use --origin https://example.com, or set REALTIME_URL or REALTIME_SOCKET_URL")
	case site.app == "":
		return site, errors.New("which app? Use --app app_…, or set REALTIME_APP_ID")
	case site.key == "" && required:
		return site, fmt.Errorf("set %s to the app's %s", variable, what)
	}
	return site, nil
}

// urlsDiffer reports whether two variables for the origin are both set and
// differ. A trailing slash makes no difference.
func urlsDiffer(a, b string) bool {
	return a != "" && b != "" && strings.TrimSuffix(a, "/") != strings.TrimSuffix(b, "/")
}

// redirected returns the error for a redirect, which is not followed: the key
// is meant only for the origin that the user named.
func (s siteAccount) redirected(path, status, location string) error {
	at, err := url.Parse(strings.TrimSuffix(s.origin, "/") + path)
	var to *url.URL
	if err == nil {
		to, err = at.Parse(location)
	}
	if err != nil || location == "" {
		return fmt.Errorf("%s%s answers %s, a redirect without a usable address, which is not an answer of this gateway; "+
			"check --origin and --path", s.origin, s.path, status)
	}
	text := fmt.Sprintf("%s answers %s, a redirect to %s. It was not followed, to keep the key from going elsewhere. If that is your gateway, use",
		at, status, to)
	if origin := to.Scheme + "://" + to.Host; origin != at.Scheme+"://"+at.Host {
		text += " --origin " + origin
	}
	if strings.Trim(to.Path, "/") != strings.Trim(at.Path, "/") {
		text += " --path " + to.Path
	}
	return errors.New(text)
}

// unreached adds the cure to a network error.
func (s siteAccount) unreached(err error) error {
	if _, untrusted := errors.AsType[x509.UnknownAuthorityError](err); untrusted {
		return fmt.Errorf("%s is not trusted: %w. If its certificate is from a private CA, for example Caddy's own, "+
			"set SSL_CERT_FILE to that CA's certificate, or run 'caddy trust'", s.origin, err)
	}
	if _, plain := errors.AsType[tls.RecordHeaderError](err); plain {
		return fmt.Errorf("%s does not speak TLS: %w. Should --origin begin with http:// instead?", s.origin, err)
	}
	return fmt.Errorf("cannot reach %s: %w. Is the server running there? If it is elsewhere, use --origin", s.origin, err)
}
