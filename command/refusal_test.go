package command

import (
	"strings"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/internal/commandtest"
)

func TestEachCommandSaysWhatItTakes(t *testing.T) {
	for command, says := range map[string]string{
		"":           "app .*channel .*key .*listen .*machines .*portal .*publish.*rule .*token .*user .*webhook .*--address",
		"app":        "create .*delete .*list .*show",
		"key":        "add .*list .*revoke .*rotate",
		"app create": "<name>", "app list": "--json", "app show": "<app>", "app delete": "<app>",
		"key add": "--expires.*--kind.*--label.*--public-key.*--scope", "key list": "<app>", "key rotate": "<app> <key>.*--overlap", "key revoke": "<app> <key>",
		"rule": "list .*remove .*reset .*set", "rule list": "<app>", "rule remove": "<app> <match>", "rule reset": "<app>",
		"rule set": "The first.rule that matches.*<app> <match>.*Examples:.*--access.*--client-events.*--first.*--history.*--presence",
		"webhook":  "add .*list .*remove .*rotate .*set .*show .*test", "webhook test": "<app> <webhook>.*--wait", "webhook list": "<app>", "webhook show": "<app> <webhook>", "webhook remove": "<app> <webhook>",
		"webhook add": "shown.only this once.*<app> <url>.*Examples:.*--event.*channel.occupied, channel.vacated.*--paused.*--prefix",
		"webhook set": "<app> <webhook>.*Examples:.*--default-events.*--enabled.*--event.*--paused.*--prefix.*--url", "webhook rotate": "<app> <webhook>.*--overlap",
		"user": "disconnect .*list .*revoke .*show", "user list": "a.token says.*<app>", "user show": "<app> <user>",
		"user disconnect": "tokens stay valid.*<app> <user>", "user revoke": "issued after the command.*<app> <user>",
		"channel": "list .*members .*show", "channel list": "<app>.*--prefix", "channel show": "<app> <channel>", "channel members": "<app> <channel>",
		"machines": "15 seconds.*--json",
		"token":    "check .*create", "token check": "from stdin.*<app> \\[<token>\\].*Examples:.*--channel", "token create": "<app>.*Examples:.*--channel.*--client-events.*--expires-in.*--info.*--user",
		"publish": "@<file>.*REALTIME_PUBLISH_KEY.*Examples:.*--file events.ndjson.*--channel.*--file.*--idempotency-key.*--no-history.*--skip.*--user", "portal": "--port",
		"listen": `REALTIME_SUBSCRIBE_KEY.*REALTIME_TOKEN.*<channel>\.\.\..*Examples:.*--count.*--max-message.*--json`,
	} {
		result := commandtest.Run(t, nil, append(strings.Fields(command), "--help")...)
		if result.Err != nil || result.Stderr != "" {
			t.Errorf("%s --help: got %+v", command, result)
		}
		commandtest.MustSay(t, result.Stdout, "Usage:\n  caddy realtime "+command)
		commandtest.MustSay(t, result.Stdout, says)
	}
}

func TestMistakesOfCommandsAreToldWithTheCure(t *testing.T) {
	server := newRawServer(t, respondJSON(t, "200 OK", map[string]any{"apps": []any{}}))
	address := " --address " + server.address
	for _, c := range []struct{ command, says string }{
		{"app create" + address, "accepts 1 arg"},
		{"app list --address localhost:1", `Is it running\?.*--address`},
		{"portal --address localhost:1", `Is it running\?.*--address`},
		{"portal --port 99999" + address, "port"},
		{"key add app_1 --kind publish --expires soon" + address, "--expires 30d, or a time like 20"},
		{"rule set app_1 orders.*" + address, "Use --access open, --access token or --access closed"},
		{"rule set app_1 orders.* --access none" + address, "not \"none\""},
		{"rule set app_1 a*b --access open" + address, `<match> is "a\*b". It must be a channel's name`},
		{"rule set app_1 a --access open --history 5" + address, "--history '100 2m', or --history 0"},
		{"rule set app_1 a --access open --history x" + address, "--history '100 2m', or --history 0"},
		{"rule set app_1 --access open" + address, "accepts 2 arg"},
		{"webhook set app_1 hook_1" + address, "nothing to change; use --url, --event"},
		{"webhook set app_1 hook_1 --enabled --paused" + address, "either --enabled or --paused"},
		{"webhook set app_1 hook_1 --event rejected --default-events" + address, "either --event or --default-events"},
		{"webhook add app_1" + address, "accepts 2 arg"},
		{"token create app_1" + address, "--user 42"},
		{"token create app_1 --user 42 --info Ann" + address, `--info "Ann" is not JSON; a text needs quotes`},
		{"token check app_1 sign_live_abcdefghijklmnopqrstuvwxyz" + address, "a key, not a token.*the signing key stays there"},
		{"token check app_1 pk_live_abcdefghijklmnopqrstuvwxyz" + address, "a key, not a token"},
		{"token check app_1 whsec_abcdefghijklmnopqrstuvwxyz" + address, "a key, not a token"},
		{"token check app_1 eyJhbGciOiJIUzI1NiJ9.eyJ" + address, "three parts with a dot between.*the whole token"},
		{"token check app_1 " + strings.Repeat("e", 8193) + address, "more than 8192 bytes"},
		{"token check" + address, "accepts between 1 and 2 arg"},
		{"user show app_1" + address, "accepts 2 arg"},
		{"user revoke app_1" + address, "accepts 2 arg"},
		{"key add app_1 --kind publish --expires 2020-01-01T00:00:00Z" + address, "not in the future"},
	} {
		commandtest.MustFail(t, commandtest.Run(t, nil, strings.Fields(c.command)...), c.command, c.says)
	}
	if n := server.requests(); n != 0 {
		t.Errorf("%d requests", n)
	}
}
