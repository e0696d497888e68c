package engineio_test

import (
	"bufio"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// A browser closes a websocket if the server selects none of its subprotocols.
func TestFirstSubprotocolIsSelectedIfItIsAToken(t *testing.T) {
	srv := serve(t, config(), app{})
	for offer, want := range map[string]string{
		"":                                "",
		"Sec-WebSocket-Protocol: v1.chat": "v1.chat",
		"Sec-WebSocket-Protocol: a,b":     "a",
		"Sec-WebSocket-Protocol: \tb , a": "b",
		"Sec-WebSocket-Protocol: , ,c":    "c",
		"sec-websocket-protocol: !#$%&'*+-.^_`|~09AZaz":          "!#$%&'*+-.^_`|~09AZaz",
		"Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b": "a",
		"Sec-WebSocket-Protocol: ,\r\nSec-WebSocket-Protocol: b": "b",
		"Sec-WebSocket-Protocol: ,":                              "",
		"Sec-WebSocket-Protocol: a b":                            "",
		"Sec-WebSocket-Protocol: a b, c":                         "",
		"Sec-WebSocket-Protocol: a;q=1":                          "",
		"Sec-WebSocket-Protocol: \"a\"":                          "",
		"Sec-WebSocket-Protocol: a/b":                            "",
		"Sec-WebSocket-Protocol: caf\xc3\xa9":                    "",
		"Sec-WebSocket-Protocol: caf\xe9":                        "",
	} {
		for _, upgrade := range []bool{false, true} {
			query := ""
			if upgrade {
				query = "&sid=" + srv.openPolling().SID
			}
			request := strings.Replace(handshake, "%s", query, 1)
			if offer != "" {
				request = strings.TrimSuffix(request, "\r\n") + offer + "\r\n\r\n"
			}
			conn := srv.raw(request)
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			var wanted []string
			if want != "" {
				wanted = []string{want}
			}
			got := response.Header["Sec-Websocket-Protocol"]
			if response.StatusCode != http.StatusSwitchingProtocols || !slices.Equal(got, wanted) {
				t.Errorf("%q, upgrade %t: %d with %q, want %q", offer, upgrade, response.StatusCode, got, wanted)
			}
			_ = conn.Close()
		}
	}
}
