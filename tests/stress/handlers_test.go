package stress

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/tests/client"
)

// F2 of the notes on other servers, and what Caddy's own writers expect of an
// upgrade: the access log says 101, and headers of the site are in the answer,
// whatever wraps the writer.
func TestWebSocketPassesThroughTheHandlersOfASite(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, scheme, handlers string
	}{
		{"plain", "http", ""},
		{"encode, log, header", "http", "encode\n	log\n	header X-Site yes\n	header >X-Late yes"},
		{"TLS", "https", "tls internal\n	log\n	encode\n	header X-Site yes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := startWith(t, func(g *gateway) string {
				_, port, _ := strings.Cut(g.Addr, ":")
				return fmt.Sprintf(`{
	admin %s
	persist_config off
	skip_install_trust
	auto_https disable_redirects
}
%s://localhost:%s {
	%s
	realtime
}
`, g.Admin, tc.scheme, port, tc.handlers)
			})
			a := g.newApp()
			_, port, _ := strings.Cut(g.Addr, ":")
			var config *tls.Config
			if tc.scheme == "https" {
				config = &tls.Config{RootCAs: g.root(), ServerName: "localhost", NextProtos: []string{"http/1.1"}}
			}
			request := client.HandshakeRequest("localhost:"+port, "/socket.io/?EIO=4&transport=websocket")
			conn, err := dial("localhost:"+port, config)
			if err != nil {
				t.Fatal(err)
			}
			auth := fmt.Sprintf(`40{"appId":%q,"subscribeKey":%q}`, a.ID, a.SubscribeKey)
			socket, header, err := client.Handshake(conn, request, client.TextFrame(auth))
			if err != nil {
				t.Fatal(err)
			}
			defer socket.Close()
			if strings.Contains(tc.handlers, "X-Site") && header.Get("X-Site") != "yes" {
				t.Errorf("the site's header is not in the answer: %v", header)
			}
			if strings.Contains(tc.handlers, "X-Late") && header.Get("X-Late") != "yes" {
				t.Errorf("the site's deferred header is not in the answer: %v", header)
			}
			for _, want := range []string{"0{", "40{"} {
				if got, err := socket.Read(); err != nil || !strings.HasPrefix(got, want) {
					t.Fatalf("got %q, %v; want %s…", got, err, want)
				}
			}
			if err := socket.Write(`42["subscribe","c"]`); err != nil {
				t.Fatal(err)
			}
			if got, err := socket.Read(); err != nil || got != `42["subscribed",{"channel":"c"}]` {
				t.Fatalf("got %q, %v", got, err)
			}
			if strings.Contains(tc.handlers, "log") {
				g.await("the access log says 101", 5*time.Second, func() bool {
					log, err := os.ReadFile(g.log.Name())
					return err == nil && strings.Contains(string(log), `"status":101`)
				})
			}
		})
	}
}

// root is the pool of Caddy's own CA, which it makes as it starts.
func (g *gateway) root() *x509.CertPool {
	g.t.Helper()
	pool := x509.NewCertPool()
	g.await("Caddy's CA has a certificate", 20*time.Second, func() bool {
		pem, err := os.ReadFile(filepath.Join(g.dir, "caddy", "pki", "authorities", "local", "root.crt"))
		return err == nil && pool.AppendCertsFromPEM(pem)
	})
	return pool
}
