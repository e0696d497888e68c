package socketio_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

// polling is a session on long-polling.
type polling struct {
	srv *server
	url string
	sid string
}

func (s *server) openPolling() *polling {
	s.t.Helper()
	p := &polling{srv: s, url: s.http.URL + "/socket.io/?EIO=4&transport=polling"}
	var open struct{ SID string }
	if m := p.get(); !strings.HasPrefix(m, "0") || json.Unmarshal([]byte(m[1:]), &open) != nil {
		s.t.Fatalf("no handshake: %q", m)
	}
	p.sid = open.SID
	p.url += "&sid=" + p.sid
	return p
}

// get waits for the next payload.
func (p *polling) get() string {
	p.srv.t.Helper()
	status, body := p.do(http.MethodGet, "")
	if status != http.StatusOK {
		p.srv.t.Fatalf("status %d: %s", status, body)
	}
	return body
}

func (p *polling) post(payload string) {
	p.srv.t.Helper()
	if status, body := p.do(http.MethodPost, payload); status != http.StatusOK || body != "ok" {
		p.srv.t.Fatalf("status %d: %s", status, body)
	}
}

func (p *polling) do(method, payload string) (status int, body string) {
	p.srv.t.Helper()
	req, err := http.NewRequestWithContext(p.srv.t.Context(), method, p.url, strings.NewReader(payload))
	if err != nil {
		p.srv.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "text/plain;charset=UTF-8")
	resp, err := p.srv.http.Client().Do(req)
	if err != nil {
		p.srv.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.srv.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}
