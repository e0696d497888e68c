// Package realtime makes any Caddy a realtime gateway: backends publish over
// HTTP, browsers and apps subscribe with the stock socket.io-client.
//
//	example.com {
//		realtime
//		reverse_proxy app:8080
//	}
package realtime

// App is the Caddy app `realtime`: everything that is process-wide. A
// configuration that only uses the directive gets one with the defaults.
type App struct {
	// Keystore says where apps and keys are kept. Its place must not change
	// at a reload while sockets are to stay open.
	Keystore *Keystore `json:"keystore,omitempty"`

	Settings
}

// Handler is the HTTP handler `http.handlers.realtime`: POST /publish and the
// Socket.IO endpoint of one site. A path that is not its own goes to the next
// handler.
type Handler struct {
	// PublishPath takes publishes. Default: /publish.
	PublishPath string `json:"publish_path,omitempty"`

	// SocketPath is the Socket.IO endpoint; its trailing slash is optional.
	// Default: /socket.io.
	SocketPath string `json:"socket_path,omitempty"`

	// DocsPath is the documentation page's. Default: none, no page.
	DocsPath string `json:"docs_path,omitempty"`

	// Origins whose pages may use this site from a browser, as
	// scheme://host[:port]; a host may begin with "*." for all its
	// subdomains. Default: any.
	Origins []string `json:"origins,omitempty"`
}
