package socketio_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/socketio"
)

// slow is an application whose events named "slow" run until they are released.
type slow struct {
	mu      sync.Mutex // guards did
	did     []string
	begun   chan context.Context
	release chan struct{}
}

func newSlow() *slow {
	return &slow{begun: make(chan context.Context, 10), release: make(chan struct{})}
}

func (s *slow) done(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.did = append(s.did, what)
}

func (s *slow) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.did)
}

func (s *slow) app() app {
	return app{
		rest: func(e *socketio.Event) func(context.Context) {
			if e.Name != "slow" {
				return nil
			}
			return func(ctx context.Context) {
				s.begun <- ctx
				select {
				case <-s.release:
				case <-ctx.Done():
				}
				s.done("slow")
				e.Ack()
			}
		},
		event:      func(_ *socketio.Socket, e *socketio.Event) { s.done(e.Name) },
		disconnect: func(_ *socketio.Socket, reason string) { s.done(reason) },
	}
}

func TestWhatComesBehindAnEventThatTakesTimeWaitsForIt(t *testing.T) {
	s := newSlow()
	var socket *socketio.Socket
	a := s.app()
	a.accept = func(accepted *socketio.Socket) { socket = accepted }
	c := serve(t, a).connect()
	c.send(`421["slow"]`, `422["a"]`, `423["slow"]`, `424["b",{"_placeholder":true,"num":0}]`, `451-5["c",{"_placeholder":true,"num":0}]`, "bxyz", "41")
	receive(t, s.begun)
	if did := s.all(); len(did) != 0 {
		t.Fatalf("%v is done before the first event is", did)
	}
	if err := socket.Emit("news"); err != nil { // events can be sent meanwhile
		t.Fatal(err)
	}
	c.want(`42["news"]`)
	s.release <- struct{}{}
	c.want("431[]", "432[]")
	receive(t, s.begun)
	s.release <- struct{}{}
	c.want("433[]", `434[{"_placeholder":true,"num":0}]`, `461-5[{"_placeholder":true,"num":0}]`)
	c.next() // the attachment
	c.send("40")
	c.wantConnected()
	if did, want := s.all(), []string{"slow", "a", "slow", "b", "c", "client namespace disconnect"}; !slices.Equal(did, want) {
		t.Errorf("did %v, want %v", did, want)
	}
}

func TestEventThatTakesTimeEndsWithItsSession(t *testing.T) {
	for name, leave := range map[string]func(*server, *client){
		"client gone":   func(_ *server, c *client) { _ = c.conn.Close() },
		"server closed": func(s *server, _ *client) { s.close() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSlow()
			srv := serve(t, s.app())
			c := srv.connect()
			c.send(`42["slow"]`, `42["never"]`)
			ctx := receive(t, s.begun)
			leave(srv, c)
			<-ctx.Done()
			srv.close() // waits for the rest
			if did := s.all(); len(did) != 2 || did[0] != "slow" || strings.HasPrefix(did[1], "never") {
				t.Errorf("did %v", did)
			}
		})
	}
}

func TestClientThatSendsTooMuchMeanwhileIsCutOff(t *testing.T) {
	s := newSlow()
	srv := serve(t, s.app())
	c := srv.connect()
	c.send(`42["slow"]`)
	ctx := receive(t, s.begun)
	large := `42["large","` + strings.Repeat("x", 400<<10) + `"]`
	c.send(large, large)
	if err := ctx.Err(); err != nil {
		t.Fatal(err)
	}
	c.send(large)
	c.wantClosed()
	<-ctx.Done()
}

// Empty messages used not to count against the limit of waiting messages.
func TestClientThatSendsTooManyMessagesMeanwhileIsCutOff(t *testing.T) {
	s := newSlow()
	c := serve(t, s.app()).connect()
	c.send(`42["slow"]`)
	ctx := receive(t, s.begun)
	c.send(slices.Repeat([]string{"4"}, 40_000)...)
	c.wantClosed()
	<-ctx.Done()
}

func TestPanicInWhatTakesTimeEndsItsSessionOnly(t *testing.T) {
	reasons := make(chan string, 1)
	srv := serve(t, app{
		rest: func(e *socketio.Event) func(context.Context) {
			if e.Name != "a" {
				return nil
			}
			return func(context.Context) { panic("boom") }
		},
		disconnect: func(_ *socketio.Socket, reason string) { reasons <- reason },
	})
	other, c := srv.connect(), srv.connect()
	c.send(`42["a"]`)
	c.wantClosed()
	receive(t, reasons)
	other.wantAlive()
}
