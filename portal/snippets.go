package portal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// A Snippet is sample code for a developer to copy.
type Snippet struct {
	ID, Name, Text string
}

// Filling holds the values of the snippets. Each value is quoted for the snippet's
// language.
type Filling struct {
	// Origin is the site's origin, PublishPath its endpoint for backends.
	Origin, PublishPath string

	// SocketPath is the path for clients, or "" for socket.io-client's default.
	SocketPath string

	AppID string

	// SubscribeKey is "" when it is no longer known. A publish key does not belong
	// in code.
	SubscribeKey string

	// Signs means that the app has a signing key for HS256, so that its backend can
	// sign tokens.
	Signs bool
}

// Snippets returns sample code to publish and to subscribe, and to sign tokens if the
// app has a key for that, for one app on one site.
// The publishing ones fail unless the response contains a message ID.
func Snippets(f Filling) []Snippet {
	endpoint, socketPath, publishPath, signingKey := f.Origin+URLPath(f.PublishPath), "", "", ""
	if f.SocketPath != "" {
		socketPath = "\n  path: " + jsString(URLPath(f.SocketPath)) + ","
	}
	if f.PublishPath != "/publish" {
		publishPath = "\nREALTIME_PUBLISH_PATH=" + envValue(URLPath(f.PublishPath))
	}
	if f.Signs {
		signingKey = "\nREALTIME_SIGNING_KEY="
	}
	key := f.SubscribeKey
	if key == "" {
		key = "YOUR_SUBSCRIBE_KEY"
	}
	snippets := []Snippet{
		{"curl", "curl", fill(curlSnippet, "endpoint", shellWord(endpoint), "app-header", shellWord("X-App-Id: "+f.AppID))},
		{"node", "Node", fill(nodeSnippet, "endpoint", jsString(endpoint), "app", jsString(f.AppID))},
		{"browser", "browser", fill(browserSnippet, "origin", jsString(f.Origin), "path", socketPath, "app", jsString(f.AppID), "key", jsString(key))},
		{"laravel", "Laravel", fill(laravelSnippet, "origin", envValue(f.Origin), "app", envValue(f.AppID), "path", publishPath, "signing-key", signingKey)},
	}
	if f.Signs {
		snippets = append(snippets, tokenSnippets()...)
	}
	return snippets
}

// nodePublish returns the Node snippet that reads everything from the environment,
// with the variable names of the product's documentation.
func nodePublish(publishPath string) string {
	return fill(nodeSnippet,
		"endpoint", "(process.env.REALTIME_URL || process.env.REALTIME_SOCKET_URL) + "+jsString(publishPath),
		"app", "process.env.REALTIME_APP_ID")
}

// fill replaces each <name> with the value after the name in pairs.
func fill(text string, pairs ...string) string {
	for i := 0; i < len(pairs); i += 2 {
		pairs[i] = "<" + pairs[i] + ">"
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// URLPath encodes a path for a URL. It escapes more than a URL requires, so that the
// result needs no quoting in a shell, in JavaScript or in .env.
func URLPath(path string) string {
	var b strings.Builder
	for _, c := range []byte(path) {
		if isPlain(c) && c != ':' && c != '[' && c != ']' && c != '%' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// isPlain reports whether a character is literal in a shell's double quotes and in
// .env without quotes.
func isPlain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("/._~-:[]%", c) >= 0
}

func isPlainText(s, also string) bool {
	for _, c := range []byte(s) {
		if !isPlain(c) && strings.IndexByte(also, c) < 0 {
			return false
		}
	}
	return true
}

func shellWord(s string) string {
	if isPlainText(s, " ") {
		return `"` + s + `"`
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func jsString(s string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string always encodes
	return strings.TrimSuffix(b.String(), "\n")
}

func envValue(s string) string {
	if isPlainText(s, "") {
		return s
	}
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}

const curlSnippet = `answer=$(curl -sS -w ' %{http_code} %{redirect_url}' -X POST <endpoint> \
-H "Content-Type: application/json" \
-H <app-header> \
-H "Authorization: Bearer $REALTIME_PUBLISH_KEY" \
-d '{"channel":"orders.42","event":"order.updated","data":{"id":42}}')
case $answer in
  '{"id":"'[0-9A-Za-z_-]*' 200 ') echo "$answer" ;;
  *) echo "Not published: $answer" >&2; false ;;
esac`

const nodeSnippet = `const answer = await fetch(<endpoint>, {
  method: "POST",
  redirect: "manual", // the key is for this server only
  headers: {
    "Content-Type": "application/json",
    "X-App-Id": <app>,
    Authorization: ` + "`Bearer ${process.env.REALTIME_PUBLISH_KEY}`" + `,
  },
  body: JSON.stringify({ channel: "orders.42", event: "order.updated", data: { id: 42 } }),
});
const text = await answer.text();
if (answer.status !== 200 || !/^\{"id":"[^"]/.test(text)) {
  throw new Error(` + "`Not published: ${answer.status} ${answer.headers.get(\"Location\") ?? \"\"} ${text}`" + `);
}`

const browserSnippet = `import { io } from "socket.io-client";

const socket = io(<origin>, {<path>
  transports: ["websocket", "polling"],
  auth: { appId: <app>, subscribeKey: <key> },
});

socket.on("connect", () => socket.emit("subscribe", "orders.42"));
socket.on("order.updated", (data) => console.log(data));
socket.on("connect_error", (err) => console.error(err.message, err.data));
socket.on("subscribe_error", (err) => console.error(err.message, err.code));`

const laravelSnippet = `# .env, for the classes of examples/laravel
BROADCAST_CONNECTION=realtime
REALTIME_SOCKET_URL=<origin>
REALTIME_APP_ID=<app><path>
REALTIME_PUBLISH_KEY=<signing-key>`
