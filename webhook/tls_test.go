package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// newSecureReceiver starts a receiver with HTTPS and HTTP/2, whose certificate is of no
// CA that the system trusts.
func newSecureReceiver(t *testing.T, protocols chan<- string) *receiver {
	t.Helper()
	r := &receiver{t: t}
	r.answer = func(w http.ResponseWriter, req *http.Request) {
		protocols <- req.Proto
		w.WriteHeader(http.StatusNoContent)
	}
	r.Server = httptest.NewUnstartedServer(r)
	r.EnableHTTP2 = true
	r.StartTLS()
	t.Cleanup(r.Close)
	return r
}

func TestTrustedReceiverIsSentToOverHTTP2(t *testing.T) {
	protocols := make(chan string, 100)
	r := newSecureReceiver(t, protocols)
	m := start(t, Options{})
	roots := x509.NewCertPool()
	roots.AddCert(r.Certificate())
	m.client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	set(t, m, hookTo(r.URL))
	emit(m, "shop", 0, 250)
	account(t, r.untilEvents(250), 250)
	if protocol := <-protocols; protocol != "HTTP/2.0" {
		t.Errorf("sent over %s", protocol)
	}
	if a := r.all()[0]; !a.signedBy(testSecret) {
		t.Errorf("not signed: %+v", a)
	}
}

func TestReceiverThatIsNotTrustedIsSentNothingAndTheReasonIsClear(t *testing.T) {
	r := newSecureReceiver(t, make(chan string, 100))
	m := start(t, Options{})
	set(t, m, hookTo(r.URL))
	emit(m, "shop", 0, 1)
	state := untilFailure(t, m)
	if !strings.Contains(state, "certificate") || !strings.Contains(state, "trust") || len(r.all()) > 0 {
		t.Errorf("%q, %d requests", state, len(r.all()))
	}
	plain := newReceiver(t, nil)
	hook := hookTo(strings.Replace(plain.URL, "http:", "https:", 1))
	set(t, m, hook)
	until(t, "another failure", func() bool { return strings.Contains(untilFailure(t, m), "HTTPS") })
	set(t, m, hookTo(plain.URL)) // the cure
	checkUsers(t, plain.untilEvents(1), 0)
}

func TestExpiredAndMisnamedCertificatesAreNamed(t *testing.T) {
	for name, err := range map[string]error{
		"has expired": x509.CertificateInvalidError{Reason: x509.Expired},
		"shop.test":   x509.HostnameError{Certificate: &x509.Certificate{DNSNames: []string{"other.test"}}, Host: "shop.test"},
	} {
		if text := new(Manager).explain(&tls.CertificateVerificationError{Err: err}); !strings.Contains(text, name) || !strings.Contains(text, "certificate") {
			t.Errorf("%s", text)
		}
	}
}

// untilFailure returns why the first attempt of the hook failed.
func untilFailure(t *testing.T, m *Manager) (text string) {
	t.Helper()
	until(t, "failure", func() bool {
		if state, ok := m.State("shop", "hook_1"); ok && len(state.Deliveries) > 0 {
			text = state.Deliveries[0].Error
		}
		return text != ""
	})
	return text
}
