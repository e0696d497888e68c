package engineio_test

import (
	"net/http"
	"strings"
	"testing"
)

// Session ids appear in access logs. With the id of a session on a websocket,
// nobody can receive, send or end it.
func TestAWebSocketsIdIsOfNoUse(t *testing.T) {
	srv := serve(t, config(), app{})
	client := srv.openPolling()
	for name, c := range map[string]*socket{"opened": srv.dial(), "upgraded": client.upgrade()} {
		sid := c.SID
		if sid == "" {
			sid = client.SID
		}
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			r, err := http.NewRequestWithContext(t.Context(), method,
				srv.http.URL+"/?EIO=4&transport=polling&sid="+sid, strings.NewReader("41"[:len(method)-3]))
			if err != nil {
				t.Fatal(err)
			}
			response, err := srv.client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode != http.StatusBadRequest {
				t.Errorf("%s, %s: %d", name, method, response.StatusCode)
			}
		}
		conn := srv.raw(strings.Replace(handshake, "%s", "&sid="+sid, 1))
		answer := make([]byte, 1<<10)
		for {
			n, err := conn.Read(answer)
			if err != nil {
				break
			}
			if strings.Contains(string(answer[:n]), "3probe") {
				t.Errorf("%s: it was probed", name)
			}
		}
		_ = conn.Close()
		c.send("4still here")
		c.gets("4still here")
	}
}
