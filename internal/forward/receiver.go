package forward

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
)

// methodEnd asks that the session's pending poll be answered now, because the server
// between is about to stop.
const methodEnd = http.MethodDelete

// bodyTimeout bounds how long the body of a request that is refused may take.
const bodyTimeout = 5 * time.Second

// Receiver serves the requests that other machines forward. All fields are required.
// Its zero value plus these is ready to use.
type Receiver struct {
	// Machine is this machine's ID.
	Machine string

	// Secret returns what only the machines of the cluster know.
	Secret func(context.Context) ([]byte, error)

	// Server has the sessions.
	Server *engineio.Server

	// Refused is called for each request without a valid signature. It may wait.
	Refused func(*http.Request)

	mu    sync.Mutex               // guards polls
	polls map[string]chan struct{} // what ends the pending poll of a session
}

// ServeHTTP implements http.Handler.
func (rc *Receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secret, err := rc.Secret(r.Context())
	if err != nil {
		apierr.Unavailable("The secret of the machines is not known yet. Try again.", time.Second).Write(w)
		return
	}
	sid := r.URL.Query().Get("sid")
	if !signed(secret, rc.Machine, r) || sid == "" {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
		rc.Refused(r)
		w.Header().Set("Connection", "close")
		apierr.NotFound("This address is for the other machines of the gateway (node_address). Use the address of the site.").Write(w)
		return
	}
	switch r.Method {
	case methodEnd:
		rc.end(sid)
		w.WriteHeader(http.StatusNoContent)
	case http.MethodGet:
		ending, done := rc.begin(sid)
		defer done()
		rc.Server.Serve(w, r, engineio.Exchange{Ending: ending})
	default:
		rc.Server.Serve(w, r, engineio.Exchange{})
	}
}

// begin returns what is closed when a session's poll is to end. done must be called.
func (rc *Receiver) begin(sid string) (ending <-chan struct{}, done func()) {
	end := make(chan struct{})
	rc.mu.Lock()
	defer rc.mu.Unlock()
	if rc.polls == nil {
		rc.polls = make(map[string]chan struct{})
	}
	rc.polls[sid] = end
	return end, func() {
		rc.mu.Lock()
		defer rc.mu.Unlock()
		if rc.polls[sid] == end {
			delete(rc.polls, sid)
		}
	}
}

// EndPolls has all pending polls answered, before the server stops.
func (rc *Receiver) EndPolls() {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	for sid, end := range rc.polls {
		close(end)
		delete(rc.polls, sid)
	}
}

func (rc *Receiver) end(sid string) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	if end, ok := rc.polls[sid]; ok {
		close(end)
		delete(rc.polls, sid)
	}
}

// Interface guard
var _ http.Handler = (*Receiver)(nil)
