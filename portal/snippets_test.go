package portal

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func snippet(t *testing.T, f Filling, id string) string {
	t.Helper()
	for _, s := range Snippets(f) {
		if s.ID == id {
			return s.Text
		}
	}
	t.Fatalf("no snippet %s", id)
	return ""
}

func TestSnippetsHaveTheAppTheSiteAndTheKey(t *testing.T) {
	f := Filling{Origin: "https://example.com:8443", PublishPath: "/publish", AppID: "app_APP_ID", SubscribeKey: "sub_live_ORIGIN"}
	for id, lines := range map[string][]string{
		"curl":    {`-X POST "https://example.com:8443/publish" \`, `-H "X-App-Id: app_APP_ID" \`},
		"node":    {`const answer = await fetch("https://example.com:8443/publish", {`, `    "X-App-Id": "app_APP_ID",`},
		"browser": {`const socket = io("https://example.com:8443", {`, `  auth: { appId: "app_APP_ID", subscribeKey: "sub_live_ORIGIN" },`},
		"laravel": {"REALTIME_SOCKET_URL=https://example.com:8443", "REALTIME_APP_ID=app_APP_ID", "REALTIME_PUBLISH_KEY="},
	} {
		text := snippet(t, f, id)
		for _, line := range lines {
			if !strings.Contains("\n"+text+"\n", "\n"+line+"\n") && !strings.Contains(text, line+"\n") {
				t.Errorf("%s lacks %q:\n%s", id, line, text)
			}
		}
	}
	f = Filling{Origin: "https://example.com", PublishPath: "/in", SocketPath: "/rt", AppID: "app_x"}
	if text := snippet(t, f, "browser"); !strings.Contains(text, "\n  path: \"/rt\",\n") || !strings.Contains(text, `"YOUR_SUBSCRIBE_KEY"`) {
		t.Error(text)
	}
	if text := snippet(t, f, "laravel"); !strings.Contains(text, "\nREALTIME_PUBLISH_PATH=/in\n") {
		t.Error(text)
	}
}

// awkward is what no site has, and what a snippet takes for text all the same.
var awkward = []Filling{
	{Origin: "http://$(touch made)", PublishPath: "/p`touch made`", SocketPath: `/s"+x+"`, AppID: `a"b'$(touch made)`, SubscribeKey: `k"\`},
	{Origin: "http://<endpoint><origin>", PublishPath: "/ORIGIN/é", SocketPath: "/<path>", AppID: "<app>", SubscribeKey: "<key>"},
	{Origin: "http://a\nb", PublishPath: "/a'b;c&d|e", SocketPath: "/a'b", AppID: "'; touch made; '", SubscribeKey: "\u2028</script>"},
}

// TestAShellTakesAwkwardValuesForText runs the snippet with a curl that prints
// its arguments.
func TestAShellTakesAwkwardValuesForText(t *testing.T) {
	for _, f := range awkward {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "curl"), []byte("#!/bin/sh\nprintf '%s\\n' \"$@\" >args\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		sh := exec.CommandContext(t.Context(), "/bin/sh", "-c", snippet(t, f, "curl"))
		sh.Dir, sh.Env = dir, []string{"PATH=" + dir + ":/bin:/usr/bin", "REALTIME_PUBLISH_KEY=pk"}
		out, err := sh.CombinedOutput()
		if err == nil || !strings.HasPrefix(string(out), "Not published: ") {
			t.Errorf("%v: %s", err, out)
		}
		args, err := os.ReadFile(filepath.Join(dir, "args"))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{f.Origin + URLPath(f.PublishPath), "X-App-Id: " + f.AppID, "Authorization: Bearer pk"} {
			if !strings.Contains("\n"+string(args), "\n"+want+"\n") {
				t.Errorf("%q is not an argument:\n%s", want, args)
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "made")); err == nil {
			t.Errorf("%+v runs a command", f)
		}
	}
}

// TestJavaScriptTakesAwkwardValuesForText runs the snippets with a fetch and an
// io that compare what they get.
func TestJavaScriptTakesAwkwardValuesForText(t *testing.T) {
	run := func(script string) {
		t.Helper()
		node := exec.CommandContext(t.Context(), "node", "--input-type=module", "-")
		node.Stdin = strings.NewReader(script)
		if out, err := node.CombinedOutput(); err != nil {
			t.Errorf("%v: %s\n%s", err, out, script)
		}
	}
	for _, f := range awkward {
		run(`import assert from "node:assert/strict";
globalThis.fetch = async (url, { headers }) => {
  assert.equal(url, ` + jsString(f.Origin+URLPath(f.PublishPath)) + `);
  assert.equal(headers["X-App-Id"], ` + jsString(f.AppID) + `);
  return new Response('{"id":"m-1"}');
};
` + snippet(t, f, "node"))
		_, browser, _ := strings.Cut(snippet(t, f, "browser"), "\n") // without its import
		run(`import assert from "node:assert/strict";
const io = (origin, { path, auth }) => {
  assert.deepEqual([origin, path, auth], ` + "[" + jsString(f.Origin) + "," + jsString(URLPath(f.SocketPath)) + ",{appId:" + jsString(f.AppID) + ",subscribeKey:" + jsString(f.SubscribeKey) + `}]);
  return { on() {} };
};
` + browser)
	}
}

// TestSnippetsTakeOnlyAnAnswerWithAnIDForSuccess runs those that publish
// against servers that are no gateway.
func TestSnippetsTakeOnlyAnAnswerWithAnIDForSuccess(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect is followed with the key") }))
	defer elsewhere.Close()
	for name, answer := range map[string]struct {
		serve http.HandlerFunc
		fails string // "" if it is a success
	}{
		"an id":           {serve: write(http.StatusOK, `{"id":"0a-1","offset":1,"subscribers":0}`+"\n")},
		"an empty 200":    {write(http.StatusOK, ""), "200"},
		"HTML":            {write(http.StatusOK, "<!doctype html>"), "<!doctype html>"},
		"JSON without id": {write(http.StatusOK, `{"ok":true}`), `{"ok":true}`},
		"an empty id":     {write(http.StatusOK, `{"id":""}`), `{"id":""}`},
		"null":            {write(http.StatusOK, "null"), "null"},
		"another status":  {write(http.StatusAccepted, `{"id":"0a-1"}`), "202"},
		"an error":        {write(http.StatusUnauthorized, `{"error":{"code":"invalid_key"}}`), "invalid_key"},
		"a redirect":      {http.RedirectHandler(elsewhere.URL, http.StatusPermanentRedirect).ServeHTTP, elsewhere.URL},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(answer.serve)
			defer server.Close()
			f := Filling{Origin: server.URL, PublishPath: "/publish", AppID: "app_x"}
			commands := map[string]*exec.Cmd{
				"curl": exec.CommandContext(t.Context(), "sh", "-c", snippet(t, f, "curl")),
				"node": stdin(t.Context(), snippet(t, f, "node")),
				"docs": stdin(t.Context(), nodePublish("/publish")),
			}
			for kind, command := range commands {
				command.Env = append(os.Environ(), "REALTIME_PUBLISH_KEY=pk_live_x", "REALTIME_APP_ID=app_x", "REALTIME_URL=", "REALTIME_SOCKET_URL="+server.URL)
				out, err := command.CombinedOutput()
				if (err == nil) != (answer.fails == "") || !strings.Contains(string(out), answer.fails) {
					t.Errorf("%s: %v, and it says %q", kind, err, out)
				}
			}
		})
	}
}

func stdin(ctx context.Context, script string) *exec.Cmd {
	node := exec.CommandContext(ctx, "node", "--input-type=module", "-")
	node.Stdin = strings.NewReader(script)
	return node
}

func write(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}
