package webhook

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/dns/dnsmessage"
)

func TestURLsOfHooks(t *testing.T) {
	for url, want := range map[string]string{
		"https://example.com/webhooks":                 "",
		"http://example.com:8080/a?b=c":                "",
		"https://xn--bcher-kva.example/":               "",
		"https://93.184.216.34/":                       "",
		"https://[2606:2800:220:1:248:1893:25c8:1946]": "",

		"":                          "begins with https://",
		"example.com/webhooks":      "begins with https://",
		"ftp://example.com":         "begins with https://",
		"https:example.com":         "names a host",
		"https:///webhooks":         "names a host",
		"https://:443/":             "names a host",
		"https://ann:pw@a.example/": "no user and password",
		"https://a.example/#x":      "no fragment",
		"https://a.example/#":       "no fragment",
		"https://a.example:0/":      "port from 1 to 65535",
		"https://a.example:65536/":  "port from 1 to 65535",
		"https://a.example:/":       "port from 1 to 65535",
		"https://a.example:x/":      "is invalid",
		"https://a b.example/":      "is invalid",
		"https://a.example/\n":      "is invalid",
		"https://a.example/" + strings.Repeat("x", 2048): "at most 2048 bytes",

		"http://localhost":                   "not a public address",
		"http://LOCALHOST.:2019/load":        "not a public address",
		"http://a.localhost":                 "not a public address",
		"http://127.0.0.1:2019/load":         "not a public address",
		"http://169.254.169.254/latest":      "not a public address",
		"http://[::1]/":                      "not a public address",
		"http://[::ffff:127.0.0.1]/":         "not a public address",
		"http://[fe80::1%25eth0]/":           "not a public address",
		"http://[64:ff9b::a9fe:a9fe]/latest": "not a public address",
	} {
		err := CheckURL(url, false)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.60q: %v, want %q", url, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "pw") {
			t.Errorf("the password is shown: %v", err)
		}
		if private := strings.HasPrefix(want, "not a public"); private && CheckURL(url, true) != nil {
			t.Errorf("%s is refused though private addresses are allowed", url)
		}
	}
}

func TestAddressesThatAreNotPublic(t *testing.T) {
	for text := range strings.FieldsSeq(`
		0.0.0.0 0.1.2.3 10.1.2.3 100.64.0.1 100.127.255.255 127.0.0.1 127.255.0.1 169.254.169.254 172.16.0.1 172.31.255.255
		192.0.0.8 192.0.2.1 192.168.1.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255
		:: ::1 ::7f00:1 ::ffff:10.0.0.1 ::ffff:0:7f00:1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 ff02::1 100::1
		64:ff9b::127.0.0.1 64:ff9b::10.0.0.1 64:ff9b:1::1 2002:7f00:1:: 2002:a00:1::1 2002:c0a8:101::1 2001::1 2001:db8::1 3fff::1 5f00::1`) {
		if public(netip.MustParseAddr(text)) {
			t.Errorf("%s is taken for public", text)
		}
	}
	for text := range strings.FieldsSeq(`
		1.1.1.1 9.255.255.255 11.0.0.1 100.63.255.255 100.128.0.1 172.15.0.1 172.32.0.1 192.169.0.1 223.255.255.255 ::ffff:8.8.8.8
		2001:4860:4860::8888 2606:4700::1111 2a00:1450::1 64:ff9b::8.8.8.8 2002:808:808::1`) {
		if !public(netip.MustParseAddr(text)) {
			t.Errorf("%s is not taken for public", text)
		}
	}
}

// The name of a receiver is public when it is configured, and leads to this machine
// when a request is made.
func TestNameThatLeadsToAPrivateAddressIsRefused(t *testing.T) {
	r := newReceiver(t, nil)
	var rebound atomic.Bool
	resolver := resolve(t, func() netip.Addr {
		if rebound.Load() {
			return netip.MustParseAddr("127.0.0.1")
		}
		return netip.MustParseAddr("93.184.216.34")
	})
	_, port, _ := net.SplitHostPort(r.Listener.Addr().String())
	hook := hookTo("http://rebound.example:" + port)
	if err := CheckURL(hook.URL, false); err != nil {
		t.Fatal(err)
	}
	if addrs, err := resolver.LookupHost(t.Context(), "rebound.example"); err != nil || len(addrs) != 1 || addrs[0] != "93.184.216.34" {
		t.Fatal(addrs, err)
	}
	rebound.Store(true)
	m, err := Open(Options{Dir: t.TempDir(), Logger: zap.NewNop(), Timing: quickly, Resolver: resolver})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeNow(t, m) })
	set(t, m)
	set(t, m, hook)
	emit(m, "shop", 0, 1)
	until(t, "attempts", func() bool { s, _ := m.State("shop", hook.ID); return len(s.Deliveries) >= 3 })
	s, _ := m.State("shop", hook.ID)
	if d := s.Deliveries[0]; d.Status != 0 || !strings.Contains(d.Error, "not sent to 127.0.0.1, which is not a public address") {
		t.Errorf("%+v", d)
	}
	if len(r.all()) > 0 {
		t.Error("the request was made")
	}
	m.AllowPrivate(true) // as the operator does; it shows that only the guard was in the way
	checkUsers(t, r.untilEvents(1), 0)
	r.CloseClientConnections()
	m.AllowPrivate(false)
	emit(m, "shop", 1, 1)
	until(t, "refusal", func() bool { s, _ := m.State("shop", hook.ID); return !s.Failing.IsZero() })
	if len(r.events()) > 1 {
		t.Error("a request was made after private addresses were no longer allowed")
	}
}

// resolve returns a resolver that uses a DNS server on loopback, which has one
// address for all names.
func resolve(t *testing.T, address func() netip.Addr) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	go func() { // until the server is closed
		buffer := make([]byte, 1500)
		for {
			n, from, err := server.ReadFrom(buffer)
			if err != nil {
				return
			}
			var message dnsmessage.Message
			if err := message.Unpack(buffer[:n]); err != nil {
				t.Errorf("a query: %v", err)
				continue
			}
			message.Response, message.Additionals = true, nil
			if q := message.Questions[0]; q.Type == dnsmessage.TypeA {
				message.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class},
					Body:   &dnsmessage.AResource{A: address().As4()},
				}}
			}
			if answer, err := message.Pack(); err != nil {
				t.Errorf("an answer: %v", err)
			} else if _, err := server.WriteTo(answer, from); err != nil {
				return
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}
