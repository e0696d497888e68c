package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/client"
	"github.com/seed-c079cc48/caddy-realtime/socketio"
)

func TestCredentialsArriveAsTheyAre(t *testing.T) {
	auths := make(chan string, 1)
	srv := serve(t, gateway{connect: func(auth json.RawMessage) error {
		auths <- string(auth)
		return nil
	}})
	dial(t, config(srv.URL))
	if got := receive(t, auths); got != `{"appId":"app_1","subscribeKey":"sub_live_1"}` {
		t.Errorf("auth is %s", got)
	}
}

func TestRefusedConnection(t *testing.T) {
	srv := serve(t, gateway{connect: func(json.RawMessage) error {
		return &socketio.Refusal{Message: "No such app.", Data: map[string]string{"code": "unknown_app"}}
	}})
	_, err := client.Dial(within(t), config(srv.URL))
	refusal, ok := errors.AsType[*client.Refusal](err)
	if !ok || *refusal != (client.Refusal{Code: "unknown_app", Message: "No such app."}) {
		t.Errorf("got %#v", err)
	}
}

func TestRefusedSubscriptionLeavesTheConnection(t *testing.T) {
	srv := serve(t, gateway{event: func(s *socketio.Socket, e *socketio.Event) {
		if string(e.Args[0]) == `"good"` {
			agree(s, e)
			return
		}
		s.Send(socketio.EventPacket("subscribe_error", json.RawMessage(`{}`)))
		e.Ack(map[string]any{"error": map[string]string{"code": "invalid_channel", "message": "Bad name."}})
	}})
	c := dial(t, config(srv.URL))
	_, err := c.Subscribe(within(t), "a b", client.From{})
	refusal, ok := errors.AsType[*client.Refusal](err)
	if !ok || *refusal != (client.Refusal{Channel: "a b", Code: "invalid_channel", Message: "Bad name."}) {
		t.Errorf("got %#v", err)
	}
	subscribe(t, c, "good")
}

func TestEventsArriveInOrderAndUnchanged(t *testing.T) {
	values := []string{`null`, `0`, `""`, `[]`, `12345678901234567890.10`, `{"b":1,"a":"\u00e9é\ud83d\ude00 <&>"}`, `"` + strings.Repeat("x", 500_000) + `"`}
	srv := serve(t, gateway{event: func(s *socketio.Socket, e *socketio.Event) {
		s.Send(socketio.EventPacket("early", json.RawMessage(`1`))) // from another channel
		agree(s, e)
		s.Send(socketio.EventPacket("none", nil))
		for i, value := range values {
			s.Send(socketio.EventPacket(fmt.Sprintf("é %d\t", i), json.RawMessage(value)))
		}
	}})
	c := dial(t, config(srv.URL+"/"))
	subscribe(t, c, "orders")
	want(t, c, "early", `1`)
	want(t, c, "none", "")
	for i, value := range values {
		want(t, c, fmt.Sprintf("é %d\t", i), value)
	}
}

func TestClientThatIsTakenOutOfAChannelIsTold(t *testing.T) {
	for sent, want := range map[string]string{
		`{"channel":"orders","code":"token_expired","message":"The token has expired."}`: "orders token_expired The token has expired.",
		`{"channel":"a","code":"x"}`: "a x" + " x", // the code in place of the message
		`{"channel":"orders"}`:       "",
		`"token_expired"`:            "",
	} {
		for _, during := range []string{"Next", "Subscribe"} {
			s := serve(t, gateway{event: func(s *socketio.Socket, e *socketio.Event) {
				if during == "Next" {
					agree(s, e)
				}
				s.Send(socketio.EventPacket("unsubscribed", json.RawMessage(sent)))
				s.Send(socketio.EventPacket("e", json.RawMessage(`1`)))
				if during == "Subscribe" {
					agree(s, e)
				}
			}})
			c := dial(t, config(s.URL))
			_, err := c.Subscribe(within(t), "more", client.From{})
			if err == nil && during == "Next" || err == nil && want == "" {
				var e client.Event
				if e, err = c.Next(within(t)); err == nil && e.Name != "e" {
					t.Errorf("%s: got %+v", sent, e)
				}
			}
			got := ""
			if refusal, ok := errors.AsType[*client.Refusal](err); ok {
				got = refusal.Channel + " " + refusal.Code + " " + refusal.Message
			} else if err != nil {
				t.Errorf("%s: %v", sent, err)
			}
			if got != want {
				t.Errorf("%s during %s: got %q, want %q", sent, during, got, want)
			}
		}
	}
}

func TestServersDisconnect(t *testing.T) {
	srv := serve(t, gateway{event: func(s *socketio.Socket, e *socketio.Event) {
		agree(s, e)
		s.Send(socketio.EventPacket("last", nil))
		s.Disconnect("key revoked")
	}})
	c := dial(t, config(srv.URL))
	subscribe(t, c, "orders")
	want(t, c, "last", "")
	if _, err := c.Next(within(t)); !errors.Is(err, client.ErrDisconnected) {
		t.Errorf("got %v", err)
	}
}

func TestServerThatEndsOnlyCloses(t *testing.T) {
	srv := serve(t, gateway{})
	c := dial(t, config(srv.URL))
	subscribe(t, c, "orders")
	go srv.closeSockets()
	if _, err := c.Next(within(t)); !errors.Is(err, client.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestEndOfTheContextEndsEachWait(t *testing.T) {
	entered := make(chan struct{}, 1)
	leave := make(chan struct{})
	silent := serve(t, gateway{
		connect: func(auth json.RawMessage) error {
			if strings.Contains(string(auth), "app_1") {
				return nil
			}
			entered <- struct{}{}
			<-leave
			return nil
		},
		event: func(*socketio.Socket, *socketio.Event) { entered <- struct{}{} },
	})
	defer close(leave)
	for name, wait := range map[string]func(context.Context) error{
		"dial": func(ctx context.Context) error {
			cfg := config(silent.URL)
			cfg.AppID = "app_2"
			_, err := client.Dial(ctx, cfg)
			return err
		},
		"subscribe": func(ctx context.Context) error {
			_, err := dial(t, config(silent.URL)).Subscribe(ctx, "orders", client.From{})
			return err
		},
		"next": func(ctx context.Context) error {
			c := dial(t, config(silent.URL))
			entered <- struct{}{}
			_, err := c.Next(ctx)
			if _, again := c.Next(t.Context()); again == nil {
				t.Error("the connection goes on, in the middle of a frame")
			}
			return err
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- wait(ctx) }()
		receive(t, entered)
		cancel()
		if err := receive(t, ended); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestServerThatDoesNotAnswerTimesOut(t *testing.T) {
	leave := make(chan struct{})
	srv := serve(t, gateway{connect: func(json.RawMessage) error {
		<-leave
		return nil
	}})
	defer close(leave)
	cfg := config(srv.URL)
	cfg.Timeout = 50 * time.Millisecond
	if _, err := client.Dial(within(t), cfg); err == nil || err.Error() != "no answer within 50ms" {
		t.Errorf("got %v", err)
	}
}

func TestOriginThatIsNone(t *testing.T) {
	for _, origin := range []string{
		"", "localhost:8443", "example.com", "ftp://example.com", "http://", "https://example.com/admin",
		"https://user:password@example.com", "https://example.com?x", "https://exa mple.com", "://",
	} {
		if _, err := client.Dial(within(t), config(origin)); !errors.Is(err, client.ErrOrigin) {
			t.Errorf("%q: %v", origin, err)
		}
	}
}

func TestBackoffGrowsAndIsRandom(t *testing.T) {
	var b client.Backoff
	for _, seconds := range []int{1, 2, 4, 8, 10, 10} {
		limit := time.Duration(seconds) * time.Second
		if wait := b.Next(); wait < limit/2 || wait > limit {
			t.Errorf("waits %s, want %s to %s", wait, limit/2, limit)
		}
	}
	b.Reset()
	var waits []time.Duration
	for range 10 {
		waits = append(waits, b.Next())
		b.Reset()
	}
	if slices.Max(waits) > time.Second || slices.Min(waits) < 500*time.Millisecond {
		t.Errorf("first waits %v", waits)
	}
	if len(slices.Compact(waits)) == 1 {
		t.Error("they are all the same")
	}
}
