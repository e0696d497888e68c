package redis

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
)

// refusal returns the error of a gateway that is started with this URL.
func refusal(t *testing.T, url string) error {
	t.Helper()
	s := Server{URL: url}
	if err := s.provision("broker"); err != nil {
		t.Fatal(err)
	}
	client, err := s.connect(nil)
	if err == nil {
		defer client.Close()
		err = s.inspect(client, zap.NewNop(), false)
	}
	if unreachable(err) {
		t.Errorf("a gateway would start from its copy: %v", err)
	}
	return err
}

func TestURLOfAnotherKindOfServerIsNamedWithTheCure(t *testing.T) {
	t.Parallel()
	single, node := startRedis(t), startRedis(t, "--cluster-enabled", "yes", "--cluster-port", fmt.Sprint(freePort(t)))
	node.cli("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	sentinel := startSentinel(t).url
	sentinelHost := strings.TrimPrefix(sentinel[:strings.Index(sentinel, "?")], "redis://realtime:password@")
	site := httptest.NewServer(http.NotFoundHandler())
	defer site.Close()
	for name, c := range map[string]struct{ url, cure string }{
		"a database of Cluster":                 {node.url() + "/1", "remove the number from the URL"},
		"a database that the server lacks":      {single.url() + "/99", "choose a lower one"},
		"another name of the primary":           {strings.Replace(sentinel, "=shop", "=shoppe", 1), "correct master_set"},
		"a server in the place of a sentinel":   {single.url() + "?master_set=shop", "remove master_set"},
		"a sentinel in the place of a server":   {"redis://:guard@" + sentinelHost, "add ?master_set=<name>"},
		"further nodes of what is no Cluster":   {single.url() + "?addr=" + strings.TrimPrefix(single.defaultURL(), "redis://"), "remove addr"},
		"a web server, with TLS":                {strings.Replace(site.URL, "http", "rediss", 1), "there is no TLS at this port"},
		"a web server in the place of a server": {strings.Replace(site.URL, "http", "redis", 1), "correct host and port"},
	} {
		t.Run(name, func(t *testing.T) { wantError(t, refusal(t, c.url), c.cure) })
	}
}

func TestWrongPasswordIsNamedWhereTheURLHasIt(t *testing.T) {
	t.Parallel()
	server, sentinel := startRedis(t), startSentinel(t).url
	server.cli("CONFIG", "SET", "requirepass", "secret")
	host := strings.TrimPrefix(server.defaultURL(), "redis://")
	for name, c := range map[string]struct{ url, cure string }{
		"no password":                      {"redis://" + host, "redis://:password@host:6379 for that of requirepass"},
		"a password in the user's place":   {"redis://secret@" + host, "for a password without a user, write redis://:password@"},
		"another password":                 {"redis://:wrong@" + host, "correct them in the URL"},
		"another password than Sentinel's": {strings.Replace(sentinel, "sentinel_password=guard", "sentinel_password=wrong", 1), "the sentinels' are sentinel_user and sentinel_password"},
	} {
		t.Run(name, func(t *testing.T) { wantError(t, refusal(t, c.url), c.cure) })
	}
}

func TestClusterWithoutAllSlotsIsNotComplete(t *testing.T) {
	t.Parallel()
	node := startRedis(t, "--cluster-enabled", "yes", "--cluster-port", fmt.Sprint(freePort(t)))
	s := Server{URL: node.url()}
	if err := s.provision("broker"); err != nil {
		t.Fatal(err)
	}
	client, err := s.connect(nil)
	if err == nil {
		defer client.Close()
		err = s.explain(client.Do(t.Context(), client.B().Get().Key("rt:x").Build()).Error())
	}
	wantError(t, err, "the cluster is not complete; see CLUSTER INFO")
	if !unreachable(err) {
		t.Error("it may become complete, and a gateway would not start from its copy")
	}
}

// asRedis6 returns a URL at which the server answers as Redis 6 does: with such a
// version, unless the user may not ask for it, and without a function that 7.0 brought.
func (s *redisServer) asRedis6(user string) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	var work sync.WaitGroup
	s.t.Cleanup(func() { _ = listener.Close(); work.Wait() })
	carry := func(to, from net.Conn, change func(string) string) {
		defer to.Close()
		lines := bufio.NewReader(from)
		for {
			line, err := lines.ReadString('\n') // everything that either side sends ends with one
			if _, failed := io.WriteString(to, change(line)); failed != nil || err != nil {
				return
			}
		}
	}
	lacking, named := strings.NewReplacer("acl_check_cmd(", "acl_check_xyz("), strings.NewReplacer("acl_check_xyz", "acl_check_cmd")
	version := regexp.MustCompile(`^redis_version:\d`)
	work.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
			if err != nil {
				_ = client.Close()
				continue
			}
			work.Go(func() { carry(server, client, lacking.Replace) })
			work.Go(func() {
				carry(client, server, func(line string) string {
					return version.ReplaceAllString(named.Replace(line), "redis_version:6")
				})
			})
		}
	})
	return fmt.Sprintf("redis://%s@%s", user, listener.Addr())
}

func TestRedis6IsToBeUpgraded(t *testing.T) {
	s := startRedis(t)
	wantError(t, refusal(t, s.asRedis6("realtime:password")), "has version 6.", "upgrade it")
	s.cli("ACL", "SETUSER", "realtime", "-info")
	wantError(t, refusal(t, s.asRedis6("realtime:password")), "Redis 7.0 or Valkey is needed; upgrade it")
}
