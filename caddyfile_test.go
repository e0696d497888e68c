package realtime

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/standard"
)

var update = flag.Bool("update", false, "write the JSON of testdata/caddyfile anew")

// TestCaddyfilesAdapt compares each fixture's Caddyfile with the JSON below its line of
// dashes. To update the JSON after an intended change: go test -run Adapt -update.
func TestCaddyfilesAdapt(t *testing.T) {
	files, err := filepath.Glob("testdata/caddyfile/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			fixture, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, _ := strings.Cut(string(fixture), "----------\n")
			adapted, err := adapt(input)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if err := json.Indent(&got, adapted, "", "\t"); err != nil {
				t.Fatal(err)
			}
			got.WriteByte('\n')
			if *update {
				if err := os.WriteFile(file, []byte(input+"----------\n"+got.String()), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got.String() != want {
				t.Fatalf("adapts to\n%s", got.String())
			}
		})
	}
}

func TestCaddyfileErrorsNamePlaceAndCure(t *testing.T) {
	global := func(lines string) string { return "{\n\trealtime {\n\t\t" + lines + "\n\t}\n}\n" }
	site := func(lines string) string { return "example.com {\n\trealtime {\n\t\t" + lines + "\n\t}\n}\n" }
	for _, c := range []struct {
		name, input, says string
		line              string
	}{
		{"argument to the option", "{\n\trealtime badger\n}\n", "takes no argument, but got badger", "2"},
		{"option twice", "{\n\trealtime {\n\t}\n\trealtime {\n\t\tdrain 1s\n\t}\n}\n", "duplicate global option realtime", "4"},
		{"unknown setting", global("max_bodies 1"), "unknown setting max_bodies of the global option realtime; valid settings: keystore, broker, redis, rate_limit", "3"},
		{"setting of the site", global("origins *"), "origins goes into the site's realtime directive", "3"},
		{"setting twice", global("drain 1s\n\t\tdrain 2s"), "duplicate drain", "4"},
		{"block in a setting", global("keystore badger /x {\n\t\t\tsync\n\t\t}"), "keystore badger takes no block", "3"},
		{"block of a module not known yet", global("keystore {env.TYPE} /x {\n\t\t\tsync\n\t\t}"), "keystore {env.TYPE} takes no block", "3"},
		{"keystore without type", global("keystore"), "for example: keystore badger /var/lib/caddy/realtime", "3"},
		{"keystore without directory", global("keystore badger"), "keystore is missing its value", "3"},
		{"keystore with an empty directory", global(`keystore badger ""`), "keystore is missing its value", "3"},
		{"keystore with more", global("keystore badger /a /b"), `an extra value, "/b"`, "3"},
		{"unknown keystore", global("keystore redis localhost"), `unknown keystore "redis"; this Caddy was built with: badger. Build it in: xcaddy build --with github.com/seed-c079cc48/caddy-realtime --with github.com/seed-c079cc48/caddy-realtime/redis`, "3"},
		{"redis in a build without it", global("redis redis://localhost"), `unknown keystore "redis"; this Caddy was built with: badger. Build it in: xcaddy build`, "3"},
		{"redis beside a keystore", global("keystore badger /tmp/x\n\t\tredis redis://localhost"), "redis stands for keystore redis and broker redis; remove", "4"},
		{"rate limit without values", global("rate_limit"), "for example: rate_limit 600 1m", "3"},
		{"rate limit without window", global("rate_limit 600"), "rate_limit is missing its value", "3"},
		{"rate limit of words", global("rate_limit many 1m"), `"many" is not a number`, "3"},
		{"negative rate limit", global("rate_limit -1 1m"), "write 0 for no limit", "3"},
		{"rate limit in no time", global("rate_limit 600 0s"), "must be from", "3"},
		{"rate limit with a bad window", global("rate_limit 600 minute"), `"minute" is not a duration`, "3"},
		{"rate limit with more", global("rate_limit 600 1m 5"), `an extra value, "5"`, "3"},
		{"no rate limit in a window", global("rate_limit 0 1m"), `an extra value, "1m"`, "3"},
		{"body without size", global("max_body"), "for example: max_body 1MiB", "3"},
		{"body of words", global("max_body big"), `"big" is not a size`, "3"},
		{"negative body", global("max_body -1"), "is not a size", "3"},
		{"body of nothing", global("max_body 0"), "must be from 1 B", "3"},
		{"body too large", global("max_body 2GiB"), "to 1.0 GiB", "3"},
		{"body beyond any number", global("max_body 10EiB"), "is not a size", "3"},
		{"body with more", global("max_body 1 MiB"), `an extra value, "MiB"`, "3"},
		{"body that no queue takes", global("max_body 2MiB"), "max_queue (1.0 MiB) is less than max_body (2.0 MiB)", "4"},
		{"no channels", global("max_channels 0"), "must be from 1", "3"},
		{"channels of words", global("max_channels all"), `"all" is not a number`, "3"},
		{"half a channel", global("max_channels 1.5"), "is not a number", "3"},
		{"interval without value", global("ping_interval"), "for example: ping_interval 25s", "3"},
		{"interval without unit", global("ping_interval 25"), "is not a duration", "3"},
		{"interval of nothing", global("ping_interval 0s"), "must be from 10ms to 24h", "3"},
		{"negative timeout", global("ping_timeout -1s"), "must be from 10ms to 24h", "3"},
		{"timeout too long", global("connect_timeout 365d"), "must be from 10ms to 24h", "3"},
		{"timeout with more", global("write_timeout 1 s"), `an extra value, "s"`, "3"},
		{"queue of nothing", global("max_queue 0B"), "must be from 1 B", "3"},
		{"nobody may connect", global("max_connecting 0"), "max_connecting is 0; it must be from 1", "3"},
		{"connecting without value", global("max_connecting"), "for example: max_connecting 5000", "3"},
		{"negative number of connections", global("max_connections -1"), "write 0 for no limit", "3"},
		{"too many connections", global("max_connections 1000001"), "from 1 to 1000000", "3"},
		{"connections of words", global("max_connections all"), `"all" is not a number; for example: max_connections 10000, or max_connections 0 for no limit`, "3"},
		{"connections of an address without value", global("max_connections_per_ip"), "for example: max_connections_per_ip 100", "3"},
		{"negative connections of an address", global("max_connections_per_ip -5"), "write 0 for no limit", "3"},
		{"connect rate without window", global("connect_rate 20"), "for example: connect_rate 20 10s, or connect_rate 0 for no limit", "3"},
		{"connect rate of words", global("connect_rate few 1s"), `"few" is not a number of connections`, "3"},
		{"connect rate in no time", global("connect_rate 5 0s"), "connect_rate is 0s; it must be from", "3"},
		{"message rate without values", global("message_rate"), "for example: message_rate 1000 10s", "3"},
		{"negative message rate", global("message_rate -1 1s"), "message_rate is -1", "3"},
		{"message rate with more", global("message_rate 1 1s 1"), `an extra value, "1"`, "3"},
		{"no message rate in a window", global("message_rate 0 1s"), `an extra value, "1s"`, "3"},
		{"failures with a bad window", global("auth_failures 30 soon"), `"soon" is not a duration; for example: auth_failures 30 1m`, "3"},
		{"packet of nothing", global("max_packet 0"), "must be from", "3"},
		{"packet too small for credentials", global("max_packet 1000"), "must be from 1.0 KiB", "3"},
		{"packet too large", global("max_packet 17MiB"), "to 16 MiB", "3"},
		{"packet of words", global("max_packet big"), "for example: max_packet 64KiB", "3"},
		{"body in no time", global("body_timeout 0s"), "must be from 10ms to 24h", "3"},
		{"negative drain", global("drain -1s"), "write drain 0s to close sockets at once", "3"},
		{"drain too long", global("drain 48h"), "must be from 0s to 24h", "3"},

		{"argument to the directive", "example.com {\n\trealtime socket.io\n}\n", "takes no argument, but got socket.io", "2"},
		{"unknown setting of the site", site("path /x"), "unknown setting path of the directive realtime; valid settings: publish_path", "3"},
		{"setting of the process", site("rate_limit 600 1m"), "rate_limit goes into the global option realtime", "3"},
		{"redis in the site", site("redis redis://localhost"), "redis goes into the global option realtime", "3"},
		{"path twice", site("docs_path /a\n\t\tdocs_path /a"), "duplicate docs_path", "4"},
		{"path without value", site("publish_path"), "for example: publish_path /publish", "3"},
		{"path with more", site("socket_path /a /b"), `an extra value, "/b"`, "3"},
		{"path with a block", site("publish_path /p {\n\t\t\ta\n\t\t}"), "takes no block", "4"},
		{"relative path", site("publish_path publish"), "it must begin with /", "3"},
		{"path with a query", site("publish_path /publish?x"), "without query", "3"},
		{"path with a wildcard", site("socket_path /socket.io/*"), "without wildcards", "3"},
		{"path of the request", site("docs_path /{http.request.host}"), "docs_path: {http.request.host} has no value when the configuration is loaded", "3"},
		{"path of the request, for short", site("docs_path /{host}"), "not what a request has", "3"},
		{"origin of the request", site("origins https://{host}"), "origins: {http.request.host} has no value", "3"},
		{"size of the request", global("max_body {http.request.host}"), "max_body: {http.request.host} has no value", "3"},
		{"unknown placeholder", global("keystore badger {nothing}"), "keystore: {nothing} has no value", "3"},
		{"placeholder and more", global("max_body {env.A} 5"), `an extra value, "5"`, "3"},
		{"rate of placeholders and more", global("rate_limit {env.A} {env.B} {env.C}"), `an extra value, "{env.C}"`, "3"},
		{"unknown setting with a placeholder", global("max_bodies {env.A}"), "unknown setting max_bodies", "3"},
		{"path that is escaped", site("docs_path /a%20b"), "write it decoded", "3"},
		{"path with a space", site(`docs_path "/a b"`), "spaces", "3"},
		{"path that is not clean", site("publish_path /a//b/../c"), "write /a/c", "3"},
		{"publish path with a slash", site("publish_path /publish/"), "without the trailing /", "3"},
		{"publish path of the front page", site("publish_path /"), "front page", "3"},
		{"path below the API", site("api_path /rt\n\t\tpublish_path /rt/publish"), "publish_path is /rt/publish, which is below api_path", "5"},
		{"API at the publish path", site("api_path /publish"), "publish_path and api_path are both /publish", "4"},
		{"same paths", site("docs_path /publish"), "publish_path and docs_path are both /publish", "4"},
		{"same paths but for a slash", site("publish_path /a\n\t\tsocket_path /a/"), "publish_path and socket_path are both /a/", "5"},
		{"origins without value", site("origins"), "for example: origins https://app.example.com", "3"},
		{"origins twice", site("origins https://a\n\t\torigins https://b"), "duplicate origins", "4"},
		{"origin without scheme", site("origins example.com"), "write https://example.com", "3"},
		{"origin with a slash", site("origins https://example.com/"), "write https://example.com,", "3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := adapt(c.input)
			if err == nil {
				t.Fatal("is accepted")
			}
			if !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "Caddyfile:"+c.line) {
				t.Fatalf("got %q, want %q at line %s", err, c.says, c.line)
			}
		})
	}
}

func TestLineIsNamedOnceIfAModuleNamesIt(t *testing.T) {
	d := caddyfile.NewTestDispenser("realtime {\n\tbroker other {\n\t\tprefx shop\n\t}\n}")
	d.Next()
	err := eachSetting(d, nil, map[string]func(*caddyfile.Dispenser) error{
		"broker": func(d *caddyfile.Dispenser) error {
			d.Next()
			d.NextArg()
			d.NextBlock(0)
			return d.Err("unknown setting prefx")
		},
	})
	if err == nil || err.Error() != "unknown setting prefx, at Testfile:3" {
		t.Errorf("%v", err)
	}
}

func TestJSONSettingsAreBounded(t *testing.T) {
	for _, c := range []struct{ name, config, says string }{
		{"negative body", `{"max_body":-1}`, "max_body is negative"},
		{"negative queue", `{"max_queue":-1}`, "max_queue is negative"},
		{"small queue", `{"max_queue":1000}`, "raise max_queue"},
		{"negative channels", `{"max_channels":-1}`, "must be from 1"},
		{"negative interval", `{"ping_interval":-1}`, "ping_interval is -1ns"},
		{"negative connections", `{"max_connections":-1}`, "max_connections is -1"},
		{"negative connections of an address", `{"max_connections_per_ip":-1}`, "max_connections_per_ip is -1"},
		{"negative packet", `{"max_packet":-1}`, "max_packet is -1 bytes"},
		{"connect rate without window", `{"connect_rate":{"count":5}}`, "connect_rate's window is 0s"},
		{"negative message rate", `{"message_rate":{"count":-5}}`, "write 0 for no limit"},
		{"huge number of failures", `{"auth_failures":{"count":1000000000,"window":"1m"}}`, "from 1 to 1000000"},
		{"short body", `{"body_timeout":1}`, "body_timeout is 1ns"},
		{"no limits", `{"max_connections":0,"connect_rate":{"count":0},"message_rate":{"count":0},"auth_failures":{"count":0}}`, ""},
		{"rate limit without window", `{"rate_limit":{"publishes":5}}`, "rate_limit's window is 0s"},
		{"negative rate limit", `{"rate_limit":{"publishes":-5}}`, "write 0 for no limit"},
		{"huge rate limit", `{"rate_limit":{"publishes":1000000000,"window":"1m"}}`, "from 1 to 1000000"},
		{"defaults", `{}`, ""},
		{"no rate limit", `{"rate_limit":{"publishes":0}}`, ""},
		{"no drain", `{"drain":-1}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s Settings
			if err := json.Unmarshal([]byte(c.config), &s); err != nil {
				t.Fatal(err)
			}
			s.setDefaults()
			err := s.validate()
			if c.says == "" && err == nil {
				return
			}
			if err == nil || c.says == "" || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("got %v, want %q", err, c.says)
			}
		})
	}
	if err := (&Handler{Origins: []string{"*", "https://a"}}).validate(); err == nil {
		t.Error("any origin and one of them are accepted together")
	}
	if err := (&Handler{}).validate(); err != nil {
		t.Errorf("the empty handler: %v", err)
	}
}

func adapt(input string) ([]byte, error) {
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(input), map[string]any{"filename": "Caddyfile"})
	return adapted, err
}
