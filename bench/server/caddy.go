package server

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/seed-c079cc48/caddy-realtime/bench/load"
)

// caddy runs our binary with one site, which has the handler and what else is
// said. Its log level is the default.
func caddy(handler, more string, secure bool) runner {
	return func(dir, addr string, paths Paths) (*Process, error) {
		admin, err := freeAddr()
		if err != nil {
			return nil, err
		}
		scheme, global := "http", ""
		if secure {
			scheme, global = "https", "local_certs\n\tskip_install_trust\n\tauto_https disable_redirects"
		}
		if handler == "realtime" {
			global += "\n\trealtime {\n\t\trate_limit 0\n" + paths.Settings + "\n\t}"
		}
		// Caddy's admin endpoint trusts no other loopback address than 127.0.0.1.
		config := fmt.Sprintf("{\n\tadmin %[1]s {\n\t\torigins %[1]s\n\t}\n\tpersist_config off\n\t%[2]s\n}\n%[3]s://%[4]s {\n\t%[5]s\n\t%[6]s\n}\n",
			admin, global, scheme, addr, more, handler)
		file := filepath.Join(dir, "Caddyfile")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			return nil, err
		}
		env := []string{"XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "HOME=" + dir}
		p, err := start(dir, env, paths.Caddy, "run", "--config", file, "--adapter", "caddyfile")
		if err != nil {
			return nil, err
		}
		p.Target, p.Admin = &load.Target{Addr: addr}, admin
		if err := p.setUp(admin, handler == "realtime", secure, paths.Apps); err != nil {
			p.Stop()
			return nil, err
		}
		return p, nil
	}
}

// setUp waits until the server answers, and makes its apps unless it shares
// those that another made.
func (p *Process) setUp(admin string, realtime, secure bool, shared *load.Target) error {
	ready := func() bool { return listens(admin) && listens(p.Target.Addr) }
	if realtime {
		ready = func() bool { return serves("http://" + admin + "/realtime/apps") }
	}
	if err := p.await(ready); err != nil {
		return err
	}
	if secure {
		if err := p.trust(); err != nil {
			return err
		}
	}
	if !realtime { // the request is the same, whoever answers it
		p.Target.Headers = publishHeaders("app_"+strings.Repeat("x", 20), "pk_live_"+strings.Repeat("x", 32))
		return nil
	}
	if shared != nil {
		p.Target.Auth, p.Target.Headers, p.Target.Others = shared.Auth, shared.Headers, shared.Others
		return nil
	}
	for range apps {
		app, err := newApp(admin)
		if err != nil {
			return err
		}
		p.Target.Others = append(p.Target.Others, app)
	}
	p.Target.Auth, p.Target.Headers = p.Target.Others[0].Auth, p.Target.Others[0].Headers
	p.Target.Others = p.Target.Others[1:]
	return nil
}

// apps are those of works on several.
const apps = 16

func newApp(admin string) (load.App, error) {
	answer, err := http.Post("http://"+admin+"/realtime/apps", "application/json", strings.NewReader(`{"name":"bench"}`))
	if err != nil {
		return load.App{}, err
	}
	defer answer.Body.Close()
	var app struct {
		ID           string `json:"id"`
		PublishKey   string `json:"publish_key"`
		SubscribeKey string `json:"subscribe_key"`
	}
	if answer.StatusCode != http.StatusCreated {
		return load.App{}, fmt.Errorf("making an app: %s", answer.Status)
	}
	if err := json.NewDecoder(answer.Body).Decode(&app); err != nil {
		return load.App{}, fmt.Errorf("making an app: %w", err)
	}
	return load.App{
		Auth:    fmt.Sprintf(`{"appId":%q,"subscribeKey":%q}`, app.ID, app.SubscribeKey),
		Headers: publishHeaders(app.ID, app.PublishKey),
	}, nil
}

func publishHeaders(app, key string) string {
	return "X-App-Id: " + app + "\r\nAuthorization: Bearer " + key + "\r\n"
}

func serves(url string) bool {
	answer, err := http.Get(url) //nolint:gosec // an address of ours
	if err != nil {
		return false
	}
	return answer.Body.Close() == nil && answer.StatusCode == http.StatusOK
}

// trust waits for the certificate of Caddy's own CA, and trusts the CA.
func (p *Process) trust() error {
	return p.await(func() bool {
		root, err := os.ReadFile(filepath.Join(p.dir, "caddy", "pki", "authorities", "local", "root.crt"))
		if err != nil {
			return false
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(root)
		p.Target.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}
		conn, err := tls.Dial("tcp", p.Target.Addr, p.Target.TLS)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
}
