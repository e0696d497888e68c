package redis

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"
)

// patience bounds how long a test waits for what happens at once on an idle machine.
const patience = 60 * time.Second

// A redisServer is a redis-server of a test's own.
type redisServer struct {
	t    testing.TB
	dir  string
	port int
	args []string
	user []string // of url: its name, and its rights
	cmd  *exec.Cmd
	log  *output
	done chan struct{} // closed when the process has ended
}

// output collects what a process prints.
type output struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// startRedis starts a server, which ends with the test. args are additional lines of
// redis.conf as arguments: "--appendonly", "yes".
func startRedis(t testing.TB, args ...string) *redisServer {
	t.Helper()
	s := &redisServer{t: t, dir: t.TempDir(), port: freePort(t), args: args, user: documentedUser(t, "allkeys", "allchannels")}
	s.start()
	t.Cleanup(func() { s.kill() })
	return s
}

// url returns the server's URL for a user with the commands in the documents, and no
// others.
func (s *redisServer) url() string { return s.as("realtime:password") }

// defaultURL returns the server's URL without a user.
func (s *redisServer) defaultURL() string { return s.as("") }

// as returns the server's URL for a user with a password.
func (s *redisServer) as(user string) string {
	if user != "" {
		user += "@"
	}
	return fmt.Sprintf("redis://%s127.0.0.1:%d", user, s.port)
}

// start starts the process, again after kill, and waits until it answers.
func (s *redisServer) start() {
	s.t.Helper()
	args := append([]string{"--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--daemonize", "no"}, s.args...)
	args = append(args, "--user")
	args = append(args, s.user...)
	s.cmd = exec.Command("redis-server", args...)
	s.log, s.done = new(output), make(chan struct{})
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("redis-server: %v. Install it: apt-get install redis-server", err)
	}
	go func(cmd *exec.Cmd, done chan struct{}) {
		defer close(done)
		_ = cmd.Wait()
	}(s.cmd, s.done)
	until(s.t, "redis-server answers", func() bool {
		select {
		case <-s.done:
			s.t.Fatalf("redis-server has ended:\n%s", s.log)
		default:
		}
		conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", s.port), time.Second)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

// kill ends the process as kill -9 does.
func (s *redisServer) kill() {
	_ = s.cmd.Process.Kill()
	<-s.done
}

// signal sends a signal, for example SIGSTOP.
func (s *redisServer) signal(sig os.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// do runs a command, past the code under test.
func (s *redisServer) do(words ...string) rueidis.RedisResult {
	s.t.Helper()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{fmt.Sprintf("127.0.0.1:%d", s.port)}, DisableCache: true})
	if err != nil {
		s.t.Fatal(err)
	}
	defer client.Close()
	return client.Do(context.Background(), client.B().Arbitrary(words...).Build())
}

// freePort returns a port that nothing listens on, and that is this test's as long as it
// runs: an abstract Unix socket reserves it, also from tests/lib/ports.mjs. It is below
// Linux's range for outgoing connections.
func freePort(t testing.TB) int {
	t.Helper()
	for {
		port := 20_000 + rand.N(12_768)
		reserved, err := net.Listen("unix", fmt.Sprintf("@realtime-test-port-%d", port))
		if err != nil {
			continue
		}
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			_ = reserved.Close()
			continue
		}
		_ = listener.Close()
		t.Cleanup(func() { _ = reserved.Close() })
		return port
	}
}

// until waits for a condition.
func until(t testing.TB, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !met(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

func TestServerThatIsNotThereIsNamedWithoutItsPassword(t *testing.T) {
	s := Server{URL: fmt.Sprintf("redis://user:hunter2@127.0.0.1:%d/3", freePort(t))}
	if err := s.provision("broker"); err != nil {
		t.Fatal(err)
	}
	_, err := s.connect(nil)
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte("redis at 127.0.0.1:")) || bytes.Contains([]byte(err.Error()+s.Identity()), []byte("hunter2")) {
		t.Errorf("%v, identity %s", err, s.Identity())
	}
}

func TestServerAnswersAtAUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "redis.sock")
	startRedis(t, "--unixsocket", path)
	m := newHolder(t, "unix://realtime:password@"+path)
	m.open()
	if at := m.Identity(); !strings.Contains(at, path) {
		t.Errorf("the keystore is at %s", at)
	}
}

func TestServerAnswers(t *testing.T) {
	r := startRedis(t)
	s := Server{URL: r.url()}
	if err := s.provision("broker"); err != nil {
		t.Fatal(err)
	}
	client, err := s.connect(nil)
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
}

func TestWrongURLIsNamedWithTheCure(t *testing.T) {
	for url, cure := range map[string]string{
		"http://10.0.0.5:6379":                     "write redis://, rediss:// for TLS",
		"redis-sentinel://10.0.0.5:26379":          "?master_set=<name>",
		"redis://10.0.0.5:6379,10.0.0.6:6379":      "?addr=10.0.0.6:6379",
		"redis://10.0.0.5:6379/shop":               "write a number",
		"redis://10.0.0.5:6379/-1":                 "write a number",
		"redis://10.0.0.5:6379/0/1":                "write a number",
		"redis://10.0.0.5:6379?db=shop":            "write a number",
		"redis://10.0.0.5:6379/1?db=2":             "remove one",
		"rediss://10.0.0.5:6379?skip_verify=maybe": "write skip_verify=true",
		"unix://":                          "the path of the socket",
		"redis://user:pa#ss@10.0.0.5:6379": "special characters escaped",
	} {
		s := Server{URL: url}
		wantError(t, s.provision("broker"), "broker redis: ", cure)
	}
}

func TestURLMayEndInASlash(t *testing.T) {
	s := Server{URL: "redis://user:p%40ss@10.0.0.5:6379/?addr=10.0.0.6:6379"}
	if err := s.provision("broker"); err != nil {
		t.Fatal(err)
	}
	if s.option.Password != "p@ss" || s.Identity() != "redis://10.0.0.5:6379,10.0.0.6:6379/0 rt" {
		t.Errorf("password %s, identity %s", s.option.Password, s.Identity())
	}
}
