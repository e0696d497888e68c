package client_test

import (
	"net"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/client"
)

func TestClientComesBackAsItsSession(t *testing.T) {
	connects := make(chan string, 1)
	srv := rogue(t, func(conn net.Conn) {
		_, _ = conn.Write(texts(open))
		_, connect, err := readFrame(conn)
		if err != nil {
			t.Error(err)
		}
		connects <- string(connect)
		_, _ = conn.Write(texts(`40{"sid":"t","pid":"P"}`, `42["e",null,"AAAA-7"]`, `42["e"]`))
		drain(conn)
	})
	cfg := config(srv.URL)
	cfg.Recover = true
	first := dial(t, cfg)
	if connect := receive(t, connects); connect != `40{"appId":"app_1","subscribeKey":"sub_live_1","recover":true}` {
		t.Errorf("sends %s", connect)
	}
	e, err := first.Next(within(t))
	if err != nil || e.Name != "e" || string(e.Data) != "null" || e.ID != "AAAA-7" {
		t.Errorf("got %+v, %v", e, err)
	}
	want(t, first, "e", "")
	if first.Session() != "P" || first.Recovered() {
		t.Errorf("session %q, recovered %t", first.Session(), first.Recovered())
	}
	first.Abort()
	cfg.Session, cfg.Position = first.Session(), e.ID
	if second := dial(t, cfg); !second.Recovered() {
		t.Error("it has not recovered")
	}
	if connect := receive(t, connects); connect != `40{"appId":"app_1","subscribeKey":"sub_live_1","recover":true,"pid":"P","offset":"AAAA-7"}` {
		t.Errorf("sends %s", connect)
	}
	cfg.Session = "another"
	if third := dial(t, cfg); third.Recovered() || third.Session() != "P" {
		t.Errorf("session %q, recovered %t", third.Session(), third.Recovered())
	}
	receive(t, connects)
}

func TestSubscribeAsksForEarlierMessages(t *testing.T) {
	requests := make(chan string, 1)
	srv := rogue(t, func(conn net.Conn) {
		_, _ = conn.Write(texts(open))
		_, _, _ = readFrame(conn)
		_, _ = conn.Write(texts(accepted))
		_, request, err := readFrame(conn)
		if err != nil {
			return
		}
		requests <- string(request)
		_, _ = conn.Write(texts(`431[{"channel":"a","id":"AAAA-7","complete":false,"reason":"expired","replayed":0}]`))
		drain(conn)
	})
	for request, from := range map[string]client.From{
		`421["subscribe","a"]`:                     {},
		`421["subscribe","a",{"since":"AAAA-1z"}]`: {Since: "AAAA-1z"},
		`421["subscribe","a",{"rewind":10}]`:       {Last: 10},
		`421["subscribe","a",{"rewind":"2m0s"}]`:   {Within: 2 * time.Minute},
	} {
		standing, err := dial(t, config(srv.URL)).Subscribe(within(t), "a", from)
		if err != nil || standing.Missing != "expired" {
			t.Errorf("%+v: %+v, %v", from, standing, err)
		}
		if got := receive(t, requests); got != request {
			t.Errorf("%+v sends %s", from, got)
		}
	}
}
