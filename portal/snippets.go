package portal

import "strings"

// A Snippet is code for a developer to copy.
type Snippet struct {
	ID, Name, Text string
}

// Filling is what snippets are filled in with.
type Filling struct {
	// Origin is the site's, PublishPath its endpoint for backends.
	Origin, PublishPath string

	// SocketPath is where clients connect, "" if that is where socket.io-client
	// does by itself.
	SocketPath string

	AppID string

	// SubscribeKey is "" once it is not known any more. A publish key has no
	// place in code.
	SubscribeKey string
}

// Snippets are the ways to publish and to subscribe, for one app on one site.
func Snippets(f Filling) []Snippet {
	path := ""
	if f.SocketPath != "" {
		path = "\n  path: \"" + f.SocketPath + "\","
	}
	key := f.SubscribeKey
	if key == "" {
		key = "YOUR_SUBSCRIBE_KEY"
	}
	fill := strings.NewReplacer("ORIGIN", f.Origin, "PUBLISH_PATH", f.PublishPath, "SOCKET_PATH", path,
		"APP_ID", f.AppID, "SUBSCRIBE_KEY", key)
	return []Snippet{
		{"curl", "curl", fill.Replace(curlSnippet)},
		{"node", "Node", fill.Replace(nodeSnippet)},
		{"browser", "browser", fill.Replace(browserSnippet)},
		{"laravel", "Laravel", fill.Replace(laravelSnippet)},
	}
}

const curlSnippet = `curl -X POST "ORIGINPUBLISH_PATH" \
-H "Content-Type: application/json" \
-H "X-App-Id: APP_ID" \
-H "Authorization: Bearer $PUBLISH_KEY" \
-d '{"channel":"orders.42","event":"order.updated","data":{"id":42}}'`

const nodeSnippet = `await fetch("ORIGINPUBLISH_PATH", {
  method: "POST",
  headers: {
    "Content-Type": "application/json",
    "X-App-Id": "APP_ID",
    Authorization: "Bearer " + process.env.REALTIME_PUBLISH_KEY,
  },
  body: JSON.stringify({ channel: "orders.42", event: "order.updated", data: { id: 42 } }),
});`

const browserSnippet = `import { io } from "socket.io-client";

const socket = io("ORIGIN", {SOCKET_PATH
  transports: ["websocket", "polling"],
  auth: { appId: "APP_ID", subscribeKey: "SUBSCRIBE_KEY" },
});

socket.on("connect", () => socket.emit("subscribe", "orders.42"));
socket.on("order.updated", (data) => console.log(data));
socket.on("connect_error", (err) => console.error(err.message, err.data));`

const laravelSnippet = `# .env, for the classes of examples/laravel
BROADCAST_CONNECTION=realtime
REALTIME_SOCKET_URL=ORIGIN
REALTIME_APP_ID=APP_ID
REALTIME_PUBLISH_KEY=`
