package engineio

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

// A request without a session's id, which is unguessable, opens a session if
// that is exactly what it asks for, and is otherwise refused in the words of
// the protocol.
func FuzzRequest(f *testing.F) {
	for _, query := range []string{
		"EIO=4&transport=polling", "EIO=4&transport=polling&t=abc", "EIO=4&transport=websocket", "transport=polling&EIO=3", "EIO=4&transport=polling&sid=abc",
		"EIO=4&transport=polling&sid=", "EIO=4&transport=polling&j=0", "EIO=4;transport=polling", "EIO=%34&transport=polling&EIO=3", "%zz&EIO=4&transport=polling", "",
	} {
		f.Add("GET", query)
		f.Add("POST", query)
	}
	f.Add("CONNECT", "EIO=4&transport=websocket")
	f.Add("OPTIONS", "EIO=4&transport=polling&sid=abc")
	server := NewServer(Config{PingInterval: time.Hour, PingTimeout: time.Hour, MaxPayload: 1 << 20, MaxQueue: 1 << 20, WriteTimeout: time.Minute, BodyTimeout: time.Minute, Logger: zap.NewNop()},
		func(*Session) Receiver { return new(noted) })
	f.Cleanup(server.Close)
	f.Fuzz(func(t *testing.T, method, query string) {
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.Method, r.URL.RawQuery = method, query
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)

		var answer struct {
			Code         int
			Message      string
			Error        struct{ Code, Message string }
			SID          string
			PingInterval int
			Upgrades     []string
		}
		body, opened := strings.CutPrefix(w.Body.String(), "0")
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			t.Fatalf("%s %q is answered with %d %s", method, query, w.Code, w.Body)
		}
		fields := r.URL.Query()
		asked := method == http.MethodGet && fields.Get("EIO") == "4" && fields.Get("transport") == "polling" && fields.Get("sid") == "" && !fields.Has("j")
		sessions := server.Sessions()
		switch {
		case opened != asked || opened != (w.Code == http.StatusOK) || opened != (len(sessions) == 1):
			t.Fatalf("%s %q is answered with %d %s", method, query, w.Code, w.Body)
		case opened:
			if answer.SID != sessions[0].ID() || answer.PingInterval != 3_600_000 || len(answer.Upgrades) != 1 {
				t.Fatalf("%s %q opens %s", method, query, w.Body)
			}
			sessions[0].Abort(TransportClose)
			for server.Len() > 0 {
				time.Sleep(time.Microsecond)
			}
		case w.Code < 400 || answer.Message == "" || answer.Error.Code == "" || answer.Error.Message == "":
			t.Fatalf("%s %q is refused with %d %s", method, query, w.Code, w.Body)
		}
	})
}
