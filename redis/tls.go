package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// parameters are what the URL of a server can have after the question mark.
var parameters = []string{"addr", "db", "master_set", "sentinel_user", "sentinel_password", "ca_file", "cert_file", "key_file", "skip_verify"}

// parse reads the URL.
func (s *Server) parse() error {
	parsed, err := url.Parse(s.URL)
	if err != nil || parsed.Scheme == "" || parsed.Host == "" && parsed.Scheme != "unix" {
		return errors.New("that is not a URL such as redis://user:password@10.0.0.5:6379/0; a password has its special characters escaped, as in p%40ss")
	}
	query, err := url.ParseQuery(parsed.RawQuery)
	if err != nil {
		return errors.New("what comes after the question mark of the URL is not a list such as addr=10.0.0.6:6379&db=1; a path or password has its special characters escaped, as in p%26ss")
	}
	for name, values := range query {
		if !slices.Contains(parameters, name) {
			return fmt.Errorf("the URL has the unknown parameter %s; it can have %s", name, strings.Join(parameters, ", "))
		}
		if len(values) > 1 && name != "addr" {
			return fmt.Errorf("the URL has the parameter %s %d times; remove all but one", name, len(values))
		}
	}
	if err := checkURL(parsed, query); err != nil {
		return err
	}
	if parsed.Path == "/" { // a URL often ends so, and the library takes it for a database
		parsed.Path = ""
	}
	option, err := rueidis.ParseURL(parsed.String())
	if err != nil {
		return err
	}
	option.Sentinel.Username, option.Sentinel.Password = query.Get("sentinel_user"), query.Get("sentinel_password")
	if err := setTLS(&option, query); err != nil {
		return err
	}
	s.option = option
	s.setAccess()
	return nil
}

// checkURL names the cure for what the client's library would refuse, or read in another
// way than it was meant.
func checkURL(u *url.URL, query url.Values) error {
	database := strings.TrimPrefix(u.Path, "/")
	switch u.Scheme {
	case "redis", "rediss", "valkey", "valkeys":
	case "unix":
		database = ""
		if u.Path == "" {
			return errors.New("the URL lacks the path of the socket, for example: unix:///run/redis/redis.sock")
		}
	default:
		return fmt.Errorf("the URL begins with %s://; write redis://, rediss:// for TLS, or unix:// for a socket; Sentinel and Cluster have parameters, ?master_set=<name> and ?addr=<host>:<port>", u.Scheme)
	}
	if strings.Contains(u.Host, ",") {
		return errors.New("the URL has a list of servers; write the first one there, and each further one as a parameter: ?addr=10.0.0.6:6379&addr=10.0.0.7:6379")
	}
	if query.Has("db") {
		if database != "" {
			return errors.New("the URL has a database in its path and as db; remove one")
		}
		database = query.Get("db")
	}
	if _, err := strconv.ParseUint(database, 10, 31); database != "" && err != nil {
		return fmt.Errorf("the URL has the database %q; write a number, for example redis://10.0.0.5:6379/0, or remove it, and choose a prefix instead", database)
	}
	if text := query.Get("skip_verify"); text != "" {
		if _, err := strconv.ParseBool(text); err != nil {
			return fmt.Errorf("skip_verify is %q; write skip_verify=true, or remove it", text)
		}
	}
	return nil
}

// setTLS has connections use the certificates that the URL names. A server has to have a
// certificate for the address or name at which it is reached; with Sentinel and Cluster,
// each has another one.
func setTLS(option *rueidis.ClientOption, query url.Values) error {
	config := option.TLSConfig
	if config == nil {
		for _, name := range []string{"ca_file", "cert_file", "key_file", "skip_verify"} {
			if query.Has(name) {
				return fmt.Errorf("%s is for TLS: let the URL begin with rediss://, or remove it", name)
			}
		}
		return nil
	}
	config.ServerName = ""
	if path := query.Get("ca_file"); path != "" {
		pem, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("ca_file: %w; it has the certificate of the authority that signed the server's, and the user who runs Caddy can read it", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("ca_file: %s has no certificate; it needs a block that begins with -----BEGIN CERTIFICATE-----", path)
		}
	}
	cert, key := query.Get("cert_file"), query.Get("key_file")
	if (cert == "") != (key == "") {
		return errors.New("cert_file and key_file belong together: the client's certificate, and its private key")
	}
	if cert != "" {
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(cert, key)
			if err != nil {
				err = fmt.Errorf("cert_file %s, key_file %s: %w; they have a PEM certificate and its private key, and the user who runs Caddy can read both", cert, key, err)
			}
			return &pair, err
		}
		if _, err := load(); err != nil {
			return err
		}
		// Read for each connection, so that a certificate can be renewed.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	option.Sentinel.TLSConfig = config
	return nil
}

// diagnoseTimeout bounds each step of diagnose.
const diagnoseTimeout = 2 * time.Second

var (
	errPlainHere = errors.New("the server answers a TLS handshake")
	errPlainThen = errors.New("the server does not answer a TLS handshake")
)

// diagnose returns why a connection could not be made, if that has to do with TLS,
// otherwise err. A server of TLS 1.3 refuses a client's certificate after the handshake,
// and a client that has sent something by then sees a connection that was reset.
func (s *Server) diagnose(ctx context.Context, err error) error {
	var network *net.OpError
	if answerOf(err) != "" || errors.As(err, &network) && network.Op == "dial" || s.option.DialCtxFn != nil {
		return err
	}
	for _, address := range s.option.InitAddress {
		if found := s.handshake(ctx, address); found != nil {
			return found
		}
	}
	return err
}

// handshake makes a TLS handshake with a server, and returns what is wrong with it.
func (s *Server) handshake(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, diagnoseTimeout)
	defer cancel()
	config := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // nothing is sent, and the answer decides about a text only
	plain := s.option.TLSConfig == nil
	if !plain {
		config = s.option.TLSConfig.Clone()
		config.ServerName, _, _ = net.SplitHostPort(address)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil // the caller has an error of its own
	}
	defer conn.Close()
	secure := tls.Client(conn, config)
	err = secure.HandshakeContext(ctx)
	switch {
	case plain && err == nil:
		return errPlainHere
	case plain:
		return nil
	case ctx.Err() != nil:
		return errPlainThen
	case err != nil:
		return err
	}
	_ = secure.SetReadDeadline(time.Now().Add(diagnoseTimeout))
	if _, err := secure.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil
}

// tlsCure returns what to do about an error of TLS, "" for others. wrong says that the
// configuration is, rather than that the server cannot be reached.
func tlsCure(err error) (cure string, wrong bool) {
	switch {
	case errors.Is(err, errPlainHere):
		return "it has TLS at this port; write rediss://", true
	case errors.Is(err, errPlainThen):
		return "check that it runs, and that it has TLS at this port, its tls-port; without TLS, write redis://", false
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "there is no TLS at this port; correct host and port, or write redis://", true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "its certificate is of no authority that is trusted here; add ?ca_file=<the authority's certificate> to the URL", true
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "its certificate is for another name; write that one into the URL, or give the server a certificate for this one", true
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		return "its certificate has expired or is not valid yet; renew it, or set this machine's clock", false
	}
	// A server's alerts have no types of their own.
	switch text := err.Error(); {
	case strings.Contains(text, "tls: certificate required"), strings.Contains(text, "tls: handshake failure"): // of TLS 1.3 and 1.2
		return "it demands a certificate of its clients; add ?cert_file=<file>&key_file=<file> to the URL, or set its tls-auth-clients to no", true
	case strings.Contains(text, "remote error: tls: "):
		return "it does not accept the certificate of cert_file; use one of the authority in its tls-ca-cert-file, which has not expired", true
	}
	return "", false
}
