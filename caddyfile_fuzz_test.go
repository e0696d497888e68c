package realtime

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/seed-c079cc48/caddy-realtime/internal/bounds"
)

// FuzzSettings reads any text as the global option and as the directives. Accepted
// text is valid, survives a round trip through JSON, and provisions.
func FuzzSettings(f *testing.F) {
	for _, seed := range []string{
		"realtime", "realtime {\n}", "realtime x", "realtime {\nkeystore badger /var/lib/x\nrate_limit 600 1m\nmax_body 1MiB\nmax_channels 100\nping_interval 25s\nping_timeout 20s\n" +
			"connect_timeout 10s\nmax_connecting 5000\nmax_queue 1MiB\nwrite_timeout 10s\ndrain 15s\n}",
		"realtime {\nmax_connections 9\nmax_connections_per_ip 3\nconnect_rate 20 10s\nmessage_rate 1000 10s\nmax_packet 64KiB\nauth_failures 30 1m\nbody_timeout 10s\n}",
		"realtime {\nmax_connections 0\nmax_connections_per_ip 0\nconnect_rate 0\nmessage_rate 0\nauth_failures -0\n}",
		"realtime {\nhistory 100 2m\nhistory_memory 64MiB\nrecovery 2m\n}", "realtime {\nhistory 0\nhistory_memory 1\nrecovery 0s\n}", "realtime {\nhistory 10001 1s\n}", "realtime {\nrecovery -1s\n}",
		"realtime {\nrate_limit 0\ndrain 0s\nmax_body 1.5kB\nmax_queue 2e3\n}", "realtime {\nrate_limit -0\n}", "realtime {\ndrain 1d\nping_interval 0.5d\n}",
		"realtime {\nkeystore badger {env.HOME}/x\n}", "realtime {\nmax_body {env.A}\nrate_limit {env.N} 1m\ndrain {env.D}\n}", "realtime {\ndocs_path {env.D}\norigins {env.O} *\n}", "realtime {\nmax_body {http.request.host}\n}", "realtime {\nmax_body 99999999999EB\n}", "realtime {\nkeystore badger /x {\n}\n}", "realtime {\nnode_address http://10.0.1.7:9001 :9001\n}", "realtime {\nkeystore badger `a\nb`\n}",
		"realtime {\npublish_path /p\nsocket_path /s/\ndocs_path /\norigins https://a.example https://*.b.example null\n}", "realtime {\norigins *\n}",
		"realtime {\npublish_path \"/\u00e9\"\n}", "realtime {\npath /portal\n}", "realtime {\npath /\n}", "realtime {\ndocs_path <<E\n/x\nE\n}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tokens, err := caddyfile.Tokenize([]byte(text), "Caddyfile")
		if err != nil {
			return
		}
		var app App
		if app.UnmarshalCaddyfile(caddyfile.NewDispenser(tokens)) == nil {
			var again App
			mustSurvive(t, text, &app, &again)
			config, err := emptyConfig()
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := caddy.NewContext(config)
			defer cancel()
			if err := again.Provision(ctx); err != nil {
				if strings.Contains(text, "{env.") || strings.Contains(text, "{file.") || strings.Contains(text, "{system.") || strings.Contains(text, "{time.now") {
					return // a placeholder without a value, or with an invalid one
				}
				t.Fatalf("%q cannot be provisioned: %v", text, err)
			}
			if err := again.Validate(); err != nil {
				t.Fatalf("%q is not valid: %v", text, err)
			}
			if s := again.Settings; s.RateLimit == nil || s.MaxBody < 1 || s.MaxQueue < s.MaxBody || s.MaxChannels < 1 || s.MaxConnecting < 1 ||
				s.PingInterval < caddy.Duration(bounds.MinDuration) || s.PingTimeout < caddy.Duration(bounds.MinDuration) || s.ConnectTimeout < caddy.Duration(bounds.MinDuration) || s.WriteTimeout < caddy.Duration(bounds.MinDuration) || s.Drain == nil ||
				s.BodyTimeout < caddy.Duration(bounds.MinDuration) || s.MaxPacket < minPacket || s.MaxConnections == nil || s.ConnectRate == nil || s.MessageRate == nil || s.AuthFailures == nil ||
				s.History == nil || s.History.Count > bounds.MaxHistory || s.HistoryMemory < 1 || s.Recovery == nil || *s.Recovery > caddy.Duration(bounds.MaxDuration) {
				t.Fatalf("%q leaves no bound: %+v", text, s)
			}
		}
		var handler Handler
		if handler.UnmarshalCaddyfile(caddyfile.NewDispenser(tokens)) == nil {
			var again Handler
			mustSurvive(t, text, &handler, &again)
			if err := again.validate(); err != nil && !again.hasPlaceholder() {
				t.Fatalf("%q is not valid: %v", text, err)
			}
		}
		var portal Portal
		if portal.UnmarshalCaddyfile(caddyfile.NewDispenser(tokens)) == nil {
			var again Portal
			mustSurvive(t, text, &portal, &again)
			if again.Path != "" && !hasPlaceholder(again.Path) && checkPath("path", again.Path) != nil {
				t.Fatalf("%q is not valid", text)
			}
		}
	})
}

// mustSurvive writes a module read from text as JSON and reads it back into again.
func mustSurvive(t *testing.T, text string, read, again any) {
	t.Helper()
	config, err := json.Marshal(read)
	if err == nil {
		err = json.Unmarshal(config, again)
	}
	if err != nil || !reflect.DeepEqual(read, again) {
		t.Fatalf("%q is %+v, then %s, then %+v: %v", text, read, config, again, err)
	}
}

// FuzzCaddyfile puts lines into a whole Caddyfile. Caddy accepts whatever adapts, as in
// `caddy validate`, and our own errors name the file and line.
func FuzzCaddyfile(f *testing.F) {
	for _, seed := range [][3]string{
		{"", "", ""},
		{"rate_limit 600 1m\nmax_body 1MiB", "publish_path /p\ndocs_path /docs", "path /portal"},
		{"keystore badger /x\ndrain 0s", "socket_path /s/\norigins https://*.a.example", "path /p/q"},
		{"history 0\nhistory_memory 1MiB\nrecovery 10m", "", ""},
		{"history 10 1h\nrecovery 0s", "", ""},
		{"max_queue 1kB", "origins * null", ""},
		{"max_connections 0\nconnect_rate 1 1s\nmax_packet 1kB", "", ""},
		{"ping_interval 1ns", "publish_path //", "path /"},
		{"", "docs_path /realtime", ""},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, option, site, portal string) {
		if strings.ContainsAny(option+site+portal, "{}\"`<\\#\x00") || strings.Contains(option+site+portal, "import") {
			return // it would leave its block or read files
		}
		adapted, err := adapt("{\nadmin off\npersist_config off\nauto_https off\nstorage file_system " + t.TempDir() + "\nrealtime {\n" + option + "\n}\n}\n" +
			"http://localhost:0 {\nrealtime {\n" + site + "\n}\nrealtime_portal {\n" + portal + "\n}\n}\n")
		if err != nil {
			if !strings.Contains(err.Error(), "Caddyfile:") {
				t.Fatalf("%q, %q, %q: %v", option, site, portal, err)
			}
			return
		}
		var config caddy.Config
		if err := json.Unmarshal(adapted, &config); err != nil {
			t.Fatal(err)
		}
		if err := caddy.Validate(&config); err != nil {
			t.Fatalf("%q, %q, %q adapt to %s: %v", option, site, portal, adapted, err)
		}
	})
}
