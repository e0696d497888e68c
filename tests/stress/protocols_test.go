package stress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/seed-c079cc48/caddy-realtime/tests/client"
)

// secure is a gateway with a second site, at https://localhost.
type secure struct {
	*gateway
	Host string // the second site's
	tls  *tls.Config
}

// startSecure starts a gateway with settings for the global option; env is of
// the process.
func startSecure(t *testing.T, settings string, env ...string) *secure {
	t.Helper()
	_, port, _ := strings.Cut(freeAddr(t), ":")
	s := &secure{Host: "localhost:" + port}
	s.gateway = startWith(t, func(g *gateway) string {
		g.env = env
		s.gateway = g
		return s.config(settings)
	})
	s.tls = &tls.Config{RootCAs: s.root(), ServerName: "localhost"}
	conn, err := dial(s.Host, s.tls) // when it has a certificate
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	return s
}

// config is the configuration: plain HTTP/1.1 and 2 at Addr; HTTP/1.1, 2 and 3
// over TLS at Host, where ann sees the portal.
func (s *secure) config(settings string) string {
	config := strings.Replace(s.caddyfile(settings), "{\n", fmt.Sprintf(`{
	skip_install_trust
	auto_https disable_redirects
	servers %s {
		protocols h1 h2c
	}
`, s.Addr[strings.Index(s.Addr, ":"):]), 1)
	return config + fmt.Sprintf(`https://%s {
	tls internal
	basic_auth /realtime* {
		ann $2a$04$j6CUrpHCFfaMBIW1J8aQYuW6SUiPn.MTJTovwwi7SvLNG7LHx6Bti
	}
	realtime_portal
	realtime
}
`, s.Host)
}

// ann authenticates her, with a hash that is cheap to check.
const ann = "Basic YW5uOnNlY3JldA=="

// protocols are those that carry many requests in one connection. Each makes a
// client and says how many connections that has made.
var protocols = map[string]func(s *secure, connections *atomic.Int64) (over *http.Client, host string){
	"HTTP2": func(s *secure, connections *atomic.Int64) (*http.Client, string) {
		transport := &http.Transport{Protocols: new(http.Protocols), TLSClientConfig: s.tls, DialContext: counted(connections)}
		transport.Protocols.SetHTTP2(true)
		return &http.Client{Transport: transport}, s.Host
	},
	"h2c": func(s *secure, connections *atomic.Int64) (*http.Client, string) {
		transport := &http.Transport{Protocols: new(http.Protocols), DialContext: counted(connections)}
		transport.Protocols.SetUnencryptedHTTP2(true)
		return &http.Client{Transport: plain{transport}}, s.Addr
	},
	"HTTP3": func(s *secure, connections *atomic.Int64) (*http.Client, string) {
		return &http.Client{Transport: &http3.Transport{
			TLSClientConfig: s.tls,
			Dial: func(ctx context.Context, addr string, tlsConfig *tls.Config, config *quic.Config) (*quic.Conn, error) {
				connections.Add(1)
				return quic.DialAddrEarly(ctx, addr, tlsConfig, config)
			},
		}}, s.Host
	},
}

// counted is a dialer that counts.
func counted(connections *atomic.Int64) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		connections.Add(1)
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
}

// plain goes without TLS, whatever it is asked for.
type plain struct{ *http.Transport }

func (p plain) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme = "http"
	return p.Transport.RoundTrip(r)
}

// publishOver publishes over a client of one of them.
func (s *secure) publishOver(over *http.Client, host string, a app, channel, data string) error {
	request, err := a.post("https://"+host, publication(channel, data))
	if err != nil {
		return err
	}
	answer, err := over.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	return nil
}

func TestManySessionsShareAConnection(t *testing.T) {
	t.Parallel()
	const leaving = 10
	n, events := sized(40, 60), sized(30, 50)
	for name, connect := range protocols {
		t.Run(name, func(t *testing.T) {
			s := startSecure(t, "ping_interval 1s\n\t\tping_timeout 5s")
			a := s.newApp()
			before := s.usage()
			var connections atomic.Int64
			over, host := connect(s, &connections)
			if err := s.publishOver(over, host, a, "c", "0"); err != nil { // which connects
				t.Fatal(err)
			}
			cfg := a.at(host)
			cfg.HTTP = over
			crowd := s.joinAs(cfg, "c", repeat(client.OverPolling, n)...)
			for i := range events {
				if err := s.publishOver(over, host, a, "c", strconv.Itoa(i+1)); err != nil {
					t.Fatal(err)
				}
			}
			s.check(crowd, 1, events)
			s.await("two heartbeats of each", 20*time.Second, func() bool {
				for _, c := range crowd.clients {
					if c.Heartbeats() < 2 {
						return false
					}
				}
				return true
			})
			// Who goes ends its own session: with its poll, or if it goes between
			// two, at the next heartbeat.
			gone := &audience{clients: crowd.clients[:leaving]}
			crowd = &audience{clients: crowd.clients[leaving:], accounts: crowd.accounts[leaving:]}
			gone.lose(t)
			s.await("those that gave up are gone", 20*time.Second, func() bool { return s.connections(a) == n-leaving })
			if err := s.publishOver(over, host, a, "c", strconv.Itoa(events+1)); err != nil {
				t.Fatal(err)
			}
			s.check(crowd, 1, events+1)
			if made := connections.Load(); made != 1 {
				t.Errorf("it took %d connections", made)
			}
			crowd.lose(t)
			closeAll(t, over)
			s.settled(before)
		})
	}
}

// closeAll ends a client's connections.
func closeAll(t *testing.T, over *http.Client) {
	t.Helper()
	if three, ok := over.Transport.(*http3.Transport); ok {
		if err := three.Close(); err != nil {
			t.Error(err)
		}
	}
	over.CloseIdleConnections()
}

func TestReloadsCostPollsThatShareAConnectionNothing(t *testing.T) {
	const n, reloads = 20, 6
	for name, connect := range protocols {
		t.Run(name, func(t *testing.T) {
			s := startSecure(t, "")
			a := s.newApp()
			var connections atomic.Int64
			over, host := connect(s, &connections)
			cfg := a.at(host)
			cfg.HTTP = over
			crowd := s.joinAs(cfg, "c", repeat(client.OverPolling, n)...)
			finish := s.keepPublishing(a, "c", time.Duration(sized(15, 5))*time.Millisecond)
			for i := range reloads {
				if err := s.reload(s.config(fmt.Sprintf("max_channels %d", 50+i))); err != nil {
					t.Errorf("reload: %v", err)
				}
				time.Sleep(200 * time.Millisecond) // time for events between two reloads; nothing waits for it
			}
			published, resets := finish()
			s.check(crowd, 1, published)
			t.Logf("%d events through %d reloads, over %d connections; Caddy reset %d", published, reloads, connections.Load(), resets)
			if connections.Load() < 2 {
				t.Error("the connection of before the reloads is still in use")
			}
			crowd.lose(t)
			closeAll(t, over)
		})
	}
}
