package realtime

import (
	"fmt"
	"testing"
	"unique"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/seed-c079cc48/caddy-realtime/access"
)

func TestListenersOverlapWhereTheyMayTakeTheSameConnections(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{":80", ":80", true},
		{":80", ":81", false},
		{":80-90", ":85", true},
		{"127.0.0.1:80", ":80", true},
		{"127.0.0.1:80", "0.0.0.0:80", true},
		{"127.0.0.1:80", "127.0.0.2:80", false},
		{"localhost:80", "127.0.0.1:80", true},
		{"[::1]:80", "127.0.0.1:80", false},
		{"unix//run/a.sock", "unix//run/a.sock|0220", true},
		{"unix//run/a.sock", "unix//run/b.sock", false},
		{"unix//run/a.sock", ":80", false},
	} {
		if overlap(c.a, c.b) != c.want || overlap(c.b, c.a) != c.want {
			t.Errorf("%s and %s: want %t", c.a, c.b, c.want)
		}
	}
}

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
