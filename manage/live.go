package manage

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/live"
)

// liveTimeout bounds one write to a watcher: a slower watcher is cut off.
const liveTimeout = 10 * time.Second

// liveState is sent every second, even if nothing has changed.
type liveState struct {
	Connections int `json:"connections"`
	live.Tally
}

// ServeLive streams an app's events with JSON data: the kinds of package live, and
// an event "second" with a liveState. It returns when ending is closed, also if that
// happened before the request.
//
// https://html.spec.whatwg.org/multipage/server-sent-events.html
func (g *Gateway) ServeLive(w http.ResponseWriter, r *http.Request, app string, ending <-chan struct{}) error {
	if g.Draining() {
		return apierr.Unavailable("The server is shutting down.", time.Second)
	}
	watcher, err := g.Feeds.Watch(app)
	if err != nil { // too many streams
		return apierr.Unavailable("Too many live streams are open. Close one that nobody is watching.", time.Minute)
	}
	defer watcher.Close()
	s := stream{w: w, conn: http.NewResponseController(w)}
	_ = s.conn.SetReadDeadline(time.Time{}) // the request's deadline would end the stream
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // keeps proxies that honor it from buffering events
	if r.Method == http.MethodHead {
		return nil
	}
	// A client that lost its stream, for example in a reload, reconnects.
	if s.write("retry: 1000\n\n") == nil {
		g.follow(r.Context(), &s, watcher, app, ending)
	}
	return nil
}

// follow writes the watcher's events until either side ends the stream.
func (g *Gateway) follow(ctx context.Context, s *stream, watcher *live.Watcher, app string, ending <-chan struct{}) {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	err := s.event("second", liveState{Connections: g.Sockets.Count(app)})
	for err == nil {
		select {
		case e := <-watcher.Events():
			err = s.event(string(e.Kind), e)
		case e := <-watcher.Unauthenticated():
			err = s.event(string(e.Kind), e)
		case <-second.C:
			err = s.event("second", liveState{g.Sockets.Count(app), watcher.Second()})
			if _, ok := g.Registry.App(app); !ok {
				return
			}
		case <-watcher.Ended():
			return
		case <-ending:
			return
		case <-ctx.Done():
			return
		}
	}
}

// A stream is a response of server-sent events.
type stream struct {
	w    http.ResponseWriter
	conn *http.ResponseController
}

func (s *stream) event(name string, data any) error {
	text, err := json.Marshal(data) // a single line
	if err != nil {
		return err
	}
	return s.write("event: " + name + "\ndata: " + string(text) + "\n\n")
}

func (s *stream) write(text string) error {
	_ = s.conn.SetWriteDeadline(time.Now().Add(liveTimeout)) // a writer without deadlines can hang, and then misses ending
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.conn.Flush()
}
