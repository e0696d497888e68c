package realtime

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/internal/commandtest"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// settingsOf is a command's environment, on top of that of setSite.
type settingsOf map[string]string

func TestMistakesOfPublishAreToldWithTheCure(t *testing.T) {
	s := newSite(t, nil)
	app := s.newApp()
	for _, c := range []struct {
		command  string
		settings settingsOf
		says     string
	}{
		{"publish orders e text", nil, "not JSON.*quotes"},
		{"publish orders e @" + filepath.Join(t.TempDir(), "none"), nil, "no such file"},
		{"publish orders", nil, "for whom is the event.*<channel> <event>.*--channel orders.42.*--user 42"},
		{"publish", nil, "for whom is the event"},
		{"publish a b 1 2", nil, "accepts between 1 and 3 arg"},
		{"publish --user 42 --channel a e", nil, "either --channel or --user, not both"},
		{"publish --user 42", nil, `the arguments are <event> \[<data>\], not 0`},
		{"publish --user 42 orders e 1", nil, `the arguments are <event> \[<data>\], not 3`},
		{"publish --user 42 orders e", nil, "not JSON.*quotes"},
		{"publish --user= e", nil, `--user is empty.*1 to 128 printable characters`},
		{"publish --user= orders e", nil, "--user is|not JSON"},
		{"publish --user a\u202eb e", nil, "--user has .* printable characters"},
		{"publish --user 42 connect", nil, "connect"},
		{"publish --channel= e", nil, "--channel is empty"},
		{"publish --channel= --channel a e", nil, "channel's name is empty"},
		{"publish --file - --user 42", nil, `each line has its own "channel" or "user"`},
		{"publish orders connect", nil, "connect"},
		{"publish orders e", settingsOf{"REALTIME_PUBLISH_KEY": app.SubscribeKey}, "subscribe key"},
		{"publish orders e", settingsOf{"REALTIME_PUBLISH_KEY": ""}, "REALTIME_PUBLISH_KEY"},
		{"publish orders e", settingsOf{"REALTIME_URL": ""}, "--origin https"},
		{"publish orders e --path /elsewhere", nil, "[Cc]heck --origin and --path"},
		{"publish orders e --origin " + commandtest.ClosedOrigin(t), nil, "cannot reach .*--origin"},
	} {
		setAccount(t, s, app.App.ID, app.PublishKey, app.SubscribeKey, c.settings)
		commandtest.MustFail(t, commandtest.Run(t, nil, strings.Fields(c.command)...), c.command, c.says)
	}
}

func TestDataComesFromTheCommandLineAFileOrStdin(t *testing.T) {
	file := filepath.Join(t.TempDir(), "data.json")
	if err := os.WriteFile(file, []byte(`{"from":"a file"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newPublishServer(t, nil)
	for _, c := range []struct{ data, stdin, want string }{
		{`"text"`, "", `"text"`},
		{`{"id":12345678901234567890,"html":"<b>"}`, "", `{"id":12345678901234567890,"html":"<b>"}`},
		{"@" + file, "", `{"from":"a file"}`},
		{"-", "[1,2]", "[1,2]"},
		{"", "", "absent"},
	} {
		commandtest.SetSite(t, s.URL)
		t.Setenv("REALTIME_APP_ID", s.shop.app)
		t.Setenv("REALTIME_PUBLISH_KEY", s.shop.publishKey)
		args := []string{"publish", "orders", "e"}
		if c.data != "" {
			args = append(args, c.data)
		}
		result := commandtest.Run(t, strings.NewReader(c.stdin), args...)
		if result.Err != nil || !strings.HasSuffix(result.Stdout, "\t3 subscribers\n") {
			t.Errorf("%s: got %+v", c.data, result)
		}
		if got, want := s.recorder.last(), s.shop.app+" orders e "+c.want; got != want {
			t.Errorf("published %s, want %s", got, want)
		}
	}
}

func TestRefusalEndsListenWithTheReason(t *testing.T) {
	s := newSite(t, func(app *App, _ *Handler) { app.MaxChannels = 3 })
	app, other, disabled := s.newApp(), s.newApp(), s.newApp()
	if _, err := s.registry.Update(disabled.App.ID, func(a *keystore.App) error { a.Disabled = true; return nil }); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		command  string
		settings settingsOf
		says     string
	}{
		{"listen orders.42", settingsOf{"REALTIME_SUBSCRIBE_KEY": app.PublishKey}, "publish key"},
		{"listen orders.42", settingsOf{"REALTIME_SUBSCRIBE_KEY": other.SubscribeKey}, "not a key of"},
		{"listen orders.42", settingsOf{"REALTIME_SUBSCRIBE_KEY": ""}, "REALTIME_SUBSCRIBE_KEY.*sub_live_.*REALTIME_TOKEN"},
		{"listen orders.42", settingsOf{"REALTIME_APP_ID": "app_none"}, "app_none"},
		{"listen orders.42", settingsOf{"REALTIME_APP_ID": ""}, "--app app_"},
		{"listen orders.42 --app app_none", nil, "app_none"},
		{"listen orders.42", settingsOf{"REALTIME_APP_ID": disabled.App.ID, "REALTIME_SUBSCRIBE_KEY": disabled.SubscribeKey}, "disabled|switched off"},
		{"listen orders\u00a042", nil, `channel's name has .* at character 7`},
		{"listen a b c d", nil, "3 channels"},
		{"listen", nil, "which channel.*listen orders.42.*REALTIME_TOKEN"},
		{"listen --rewind 10", settingsOf{"REALTIME_TOKEN": "a.b.c"}, "--since and --rewind need a channel"},
		{"listen orders.42", settingsOf{"REALTIME_TOKEN": app.SubscribeKey}, "REALTIME_TOKEN: that is a key, not a token"},
		{"listen orders.42", settingsOf{"REALTIME_TOKEN": "Ann"}, "REALTIME_TOKEN: that is not a token.*three parts"},
		{"listen orders.42", settingsOf{"REALTIME_TOKEN": "a.b.c"}, "The token's header is not"},
		{"listen", settingsOf{"REALTIME_TOKEN": "a.b.c", "REALTIME_SUBSCRIBE_KEY": ""}, "The token's header is not"},
		{"listen private-user.42", nil, "token"},
		{"listen orders.42 --count -1", nil, "--count -1"},
		{"listen orders.42 --max-message big", nil, "--max-message .*big.* is not a size; for example: --max-message 16MiB"},
		{"listen orders.42 --max-message 0", nil, "--max-message is 0 B; it must be from"},
		{"listen orders.42", settingsOf{"REALTIME_URL": ""}, "--origin https"},
		{"listen orders.42 --origin localhost:8443", nil, "--origin is no origin.*https://"},
		{"listen orders.42 --origin " + commandtest.ClosedOrigin(t), nil, "cannot reach .*refused.*--origin"},
		{"listen orders.42 --origin https://" + s.addr, nil, "http:// instead"},
		{"listen orders.42 --path /elsewhere", nil, "/elsewhere.*check --origin and --path"},
	} {
		setAccount(t, s, app.App.ID, app.PublishKey, app.SubscribeKey, c.settings)
		args := strings.Split(c.command, " ")
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "\u00a0", " ")
		}
		result := commandtest.Run(t, nil, args...)
		commandtest.MustFail(t, result, c.command, c.says)
		if strings.Contains(result.Said(), "reconnecting") {
			t.Errorf("%s: it says %s", c.command, result.Said())
		}
	}
}

// setAccount sets the environment of publish and listen for a site, then a test
// case's own settings.
func setAccount(t *testing.T, s *testSite, app, publishKey, subscribeKey string, settings settingsOf) {
	t.Helper()
	commandtest.SetSite(t, "http://"+s.addr)
	t.Setenv("REALTIME_APP_ID", app)
	t.Setenv("REALTIME_PUBLISH_KEY", publishKey)
	t.Setenv("REALTIME_SUBSCRIBE_KEY", subscribeKey)
	t.Setenv("REALTIME_TOKEN", "")
	for name, value := range settings {
		t.Setenv(name, value)
	}
}
