package redis

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap/zaptest"
)

// An authority signs certificates.
type authority struct {
	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.sign("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// file returns the path of a file of the authority.
func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// sign writes a certificate and its key to name.pem and name.key. The first one signs
// itself.
func (a *authority) sign(name string, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	c.NotBefore = time.Now().Add(-2 * time.Hour)
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(time.Hour)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{
		name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "EC PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(a.file(path), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// serve returns arguments of a server that uses TLS at a port.
func (a *authority) serve(name string, port int, c *x509.Certificate) []string {
	a.t.Helper()
	a.sign(name, c)
	return []string{
		"--tls-port", strconv.Itoa(port), "--tls-cert-file", a.file(name + ".pem"), "--tls-key-file", a.file(name + ".key"),
		"--tls-ca-cert-file", a.file("ca.pem"),
	}
}

// local is a certificate for this machine.
func local() *x509.Certificate {
	return &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
}

// tryBroker has a broker connect once, and closes it again.
func tryBroker(t *testing.T, url string) error {
	t.Helper()
	module := Broker{Server{URL: url}}
	if err := module.Provision(caddy.Context{}); err != nil {
		return err
	}
	b := newBroker(&module.Server, zaptest.NewLogger(t))
	defer func() { _ = b.Close() }()
	return b.reach()
}

func TestTLSWithAnAuthorityOfOnesOwn(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	port := freePort(t)
	s := startRedis(t, a.serve("server", port, local())...)
	a.sign("client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	url := fmt.Sprintf("rediss://realtime:password@127.0.0.1:%d?ca_file=%s&cert_file=%s&key_file=%s", port, a.file("ca.pem"), a.file("client.pem"), a.file("client.key"))
	one, _ := newHolder(t, url).open()
	other, _ := newHolder(t, url).open()
	app := create(t, one, "shop").App
	knows(t, other, app.ID, "shop")
	machines := []*machine{join(t, url, ""), join(t, url, "")}
	machines[0].subscribe(app.ID, "a")
	machines[1].publish(message(app.ID, "a", "1"))
	until(t, "it arrives", func() bool { return len(machines[0].delivered(app.ID)) == 1 })
	for line := range strings.Lines(s.cli("CLIENT", "LIST")) {
		if strings.Contains(line, "name=caddy-realtime") && !strings.Contains(line, fmt.Sprintf("laddr=127.0.0.1:%d ", port)) {
			t.Errorf("without TLS: %s", line)
		}
	}
	// A client's certificate that is renewed is used from the next connection on.
	a.sign("client", &x509.Certificate{NotAfter: time.Now().Add(-time.Hour)})
	if err := tryBroker(t, url); err == nil {
		t.Error("the expired certificate is accepted")
	}
	a.sign("client", &x509.Certificate{})
	s.do("CLIENT", "KILL", "TYPE", "pubsub")
	machines[1].publish(message(app.ID, "a", "2"))
	until(t, "the next arrives", func() bool { return len(machines[0].delivered(app.ID)) == 2 })
}

func TestEachErrorOfTLSNamesItsCure(t *testing.T) {
	t.Parallel()
	a, stranger := newAuthority(t), newAuthority(t)
	demanding, open, foreign, expired := freePort(t), freePort(t), freePort(t), freePort(t)
	plain := startRedis(t, a.serve("demanding", demanding, local())...).port
	startRedis(t, append(a.serve("open", open, local()), "--tls-auth-clients", "no")...)
	startRedis(t, append(a.serve("foreign", foreign, &x509.Certificate{DNSNames: []string{"redis.example"}}), "--tls-auth-clients", "no")...)
	old := local()
	old.NotAfter = time.Now().Add(-time.Hour)
	startRedis(t, append(a.serve("expired", expired, old), "--tls-auth-clients", "no")...)
	a.sign("client", &x509.Certificate{})
	stranger.sign("client", &x509.Certificate{})
	if err := os.WriteFile(a.file("empty.pem"), []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	ca := "ca_file=" + a.file("ca.pem")
	client := func(a *authority) string {
		return "&cert_file=" + a.file("client.pem") + "&key_file=" + a.file("client.key")
	}
	at := func(scheme string, port int, parameters string) string {
		return fmt.Sprintf("%s://realtime:password@127.0.0.1:%d?%s", scheme, port, parameters)
	}
	if err := tryBroker(t, at("rediss", open, ca)); err != nil {
		t.Error(err)
	}
	if err := tryBroker(t, at("rediss", foreign, "skip_verify=true")); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		name, url string
		words     []string
		away      bool // a gateway starts all the same
	}{
		{"no CA", at("rediss", open, ""), []string{"no authority", "?ca_file="}, false},
		{"another CA", at("rediss", open, "ca_file="+stranger.file("ca.pem")), []string{"no authority", "?ca_file="}, false},
		{"another name", at("rediss", foreign, ca), []string{"for another name"}, false},
		{"expired", at("rediss", expired, ca), []string{"has expired", "renew"}, true},
		{"no client certificate", at("rediss", demanding, ca), []string{"demands a certificate", "cert_file", "tls-auth-clients"}, false},
		{"a stranger's client certificate", at("rediss", demanding, ca+client(stranger)), []string{"does not accept", "tls-ca-cert-file"}, false},
		{"no TLS there", at("rediss", plain, ca), []string{"has TLS at this port", "tls-port", "redis://"}, true},
		{"no TLS here", at("redis", open, ""), []string{"it has TLS", "rediss://"}, false},
		{"no file of the CA", at("rediss", open, "ca_file=/none.pem"), []string{"ca_file", "/none.pem", "no such file"}, false},
		{"no certificate in it", at("rediss", open, "ca_file="+a.file("empty.pem")), []string{"empty.pem has no certificate", "BEGIN CERTIFICATE"}, false},
		{"no file of the client", at("rediss", open, ca+"&cert_file=/none.pem&key_file=/none.key"), []string{"cert_file /none.pem", "key_file /none.key", "no such file"}, false},
		{"another's key", at("rediss", open, ca+"&cert_file="+a.file("client.pem")+"&key_file="+stranger.file("client.key")), []string{"private key"}, false},
		{"half a pair", at("rediss", open, ca+"&cert_file="+a.file("client.pem")), []string{"belong together"}, false},
		{"a CA without TLS", at("redis", plain, ca), []string{"ca_file is for TLS", "rediss://"}, false},
		{"a parameter with a mistake", at("rediss", open, "cafile=/x"), []string{"unknown parameter cafile", "ca_file"}, false},
		{"a parameter twice", at("rediss", open, ca+"&"+ca), []string{"ca_file 2 times"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := tryBroker(t, c.url)
			wantError(t, err, c.words...)
			if err != nil && strings.Contains(err.Error(), ":password@") {
				t.Errorf("%v has the password", err)
			}
			if unreachable(err) != c.away {
				t.Errorf("unreachable: %t, want %t: %v", !c.away, c.away, err)
			}
		})
	}
}
