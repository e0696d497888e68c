package realtime

import (
	"fmt"
	"testing"
	"unique"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/seed-c079cc48/caddy-realtime/access"
)

func TestHostsThatClientsChooseDoNotFillTheMemory(t *testing.T) {
	refusing, err := access.ParseOrigins([]string{"https://a.example"})
	if err != nil {
		t.Fatal(err)
	}
	server := &caddyhttp.Server{Listen: []string{":80"}}
	h := &Handler{SocketPath: "/socket.io", server: server, origins: refusing}
	sites := &siteOrigins{handlers: []*Handler{h}}
	for i := range 2 * maxKnownSites {
		sites.serving(address{fmt.Sprint(i, ".example"), unique.Make(endpoint{":80", "/socket.io/"})})
	}
	known := 0
	sites.known.Range(func(_, _ any) bool { known++; return true })
	if known > maxKnownSites {
		t.Errorf("%d hosts are known", known)
	}
}
