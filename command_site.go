package realtime

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// A siteAccount is whom a command speaks to and as, as a backend or a client.
type siteAccount struct{ origin, path, app, key string }

// siteFlags adds the flags for it to a command. A flag for the key would end
// up in the shell's history and in lists of processes.
func siteFlags(cmd *cobra.Command, pathName, path string) {
	cmd.Flags().String("origin", "", "The site's origin, such as https://example.com (REALTIME_SOCKET_URL)")
	cmd.Flags().String("path", path, "The site's "+pathName)
	cmd.Flags().String("app", "", "The app's id (REALTIME_APP_ID)")
}

// readSite reads flags and environment. The key is the one in the variable,
// and described by what.
func readSite(fl caddycmd.Flags, variable, what string) (siteAccount, error) {
	site := siteAccount{
		origin: orElse(fl.String("origin"), os.Getenv("REALTIME_SOCKET_URL")),
		path:   fl.String("path"),
		app:    orElse(fl.String("app"), os.Getenv("REALTIME_APP_ID")),
		key:    os.Getenv(variable),
	}
	switch {
	case site.origin == "":
		return site, errors.New("which site? Give --origin https://example.com, or set REALTIME_SOCKET_URL")
	case site.app == "":
		return site, errors.New("which app? Give --app app_…, or set REALTIME_APP_ID")
	case site.key == "":
		return site, fmt.Errorf("set %s to the app's %s", variable, what)
	}
	return site, nil
}

// unreached adds the cure to an error of the network.
func (s siteAccount) unreached(err error) error {
	if _, untrusted := errors.AsType[x509.UnknownAuthorityError](err); untrusted {
		return fmt.Errorf("%s is not trusted: %w. If its certificate is of a private CA, such as Caddy's own, "+
			"set SSL_CERT_FILE to that CA's certificate, or run 'caddy trust'", s.origin, err)
	}
	if _, plain := errors.AsType[tls.RecordHeaderError](err); plain {
		return fmt.Errorf("%s does not speak TLS: %w. Does --origin begin with http:// rather?", s.origin, err)
	}
	return fmt.Errorf("cannot reach %s: %w. Is the server running there? If it is elsewhere, say so with --origin", s.origin, err)
}
