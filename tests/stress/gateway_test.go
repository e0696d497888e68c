// Package stress puts the binary that xcaddy built under loads that no test of
// a part can: thousands of sockets, reloads, clients that vanish. Every test
// starts a Caddy of its own.
package stress

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// gateway is a running Caddy.
type gateway struct {
	t     *testing.T
	cmd   *exec.Cmd
	Addr  string // of the site, plain HTTP
	Admin string
	dir   string
	env   []string     // of the process, beside the test's own
	http  *http.Client // for requests to it; it never waits for a dead one
	log   *os.File
	ended chan struct{}
	err   error // how the process ended; to be read after ended
	toEnd bool  // the test itself ended the process

	binary     string
	booted     bool
	prepareCmd func(*exec.Cmd)       // what a test changes of the command, nil if nothing
	spawn      func(*exec.Cmd) error // starts the process
}

// start runs the binary on free ports and waits until it serves.
func start(t *testing.T, settings string) *gateway {
	t.Helper()
	return startWith(t, func(g *gateway) string { return g.caddyfile(settings) })
}

// startWith is start with a Caddyfile of one's own.
func startWith(t *testing.T, caddyfile func(*gateway) string) *gateway {
	t.Helper()
	g := prepare(t, caddyfile)
	g.boot()
	return g
}

// prepare makes a gateway that boot starts, as often as it has ended.
func prepare(t *testing.T, caddyfile func(*gateway) string) *gateway {
	t.Helper()
	g := &gateway{t: t, dir: t.TempDir(), Addr: freeAddr(t), Admin: freeAddr(t), spawn: (*exec.Cmd).Start}
	g.http = &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	t.Cleanup(g.http.CloseIdleConnections)
	g.binary = os.Getenv("CADDY_BIN")
	if g.binary == "" {
		g.binary = filepath.Join("..", "..", "build", "caddy")
	}
	if _, err := os.Stat(g.binary); err != nil {
		t.Fatalf("the gateway's binary is missing; run make build: %v", err)
	}
	if err := os.WriteFile(g.config(), []byte(caddyfile(g)), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if g.log, err = os.Create(filepath.Join(g.dir, "log")); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *gateway) config() string { return filepath.Join(g.dir, "Caddyfile") }

// command is the binary with arguments, in the gateway's own environment.
func (g *gateway) command(args ...string) *exec.Cmd {
	cmd := exec.Command(g.binary, args...)
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+g.dir, "XDG_CONFIG_HOME="+g.dir, "HOME="+g.dir)
	cmd.Env = append(cmd.Env, g.env...)
	return cmd
}

// launch starts the process, and does not wait until it serves.
func (g *gateway) launch() {
	g.t.Helper()
	g.cmd = g.command("run", "--config", g.config(), "--adapter", "caddyfile")
	g.cmd.Stdout, g.cmd.Stderr = g.log, g.log
	if g.prepareCmd != nil {
		g.prepareCmd(g.cmd)
	}
	if err := g.spawn(g.cmd); err != nil {
		g.t.Fatal(err)
	}
	g.ended, g.toEnd = make(chan struct{}), false
	go func() {
		g.err = g.cmd.Wait()
		close(g.ended)
	}()
	if !g.booted {
		g.booted = true
		g.t.Cleanup(g.stop)
	}
}

// boot starts the process and waits until it serves.
func (g *gateway) boot() {
	g.t.Helper()
	g.launch()
	g.await("the gateway serves", 30*time.Second, func() bool {
		answer, err := g.http.Get("http://" + g.Admin + "/realtime/apps")
		if err != nil {
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
}

// kill ends the process with no chance to do anything about it.
func (g *gateway) kill() {
	g.t.Helper()
	g.expectEnd()
	if err := g.cmd.Process.Kill(); err != nil {
		g.t.Fatal(err)
	}
	<-g.ended
}

// caddyfile is the gateway's configuration with settings for the global
// option.
func (g *gateway) caddyfile(settings string) string {
	return fmt.Sprintf(`{
	admin %s
	persist_config off
	realtime {
		rate_limit 0
		%s
	}
}
http://%s {
	realtime
}
`, g.Admin, settings, g.Addr)
}

// stop ends the process, and fails the test if it had ended by itself, had a
// panic or a data race.
func (g *gateway) stop() {
	select {
	case <-g.ended:
		if !g.toEnd {
			g.t.Errorf("the gateway ended by itself: %v\n%s", g.err, g.tail())
		}
	default:
		g.terminate()
	}
	g.checkLog()
}

// checkLog fails the test if the process had a panic or a data race.
func (g *gateway) checkLog() {
	g.t.Helper()
	log, err := os.ReadFile(g.log.Name())
	if err != nil {
		g.t.Error(err)
	}
	for _, bad := range []string{"panic", "DATA RACE", "fatal error"} {
		if i := bytes.Index(log, []byte(bad)); i >= 0 {
			g.t.Errorf("the log has %q:\n%s", bad, log[max(0, i-200):min(len(log), i+4000)])
		}
	}
}

// terminate ends the process in order.
func (g *gateway) terminate() {
	_ = g.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-g.ended:
	case <-time.After(40 * time.Second):
		_ = g.cmd.Process.Signal(syscall.SIGQUIT)
		<-g.ended
		g.t.Errorf("the gateway did not end within 40s of SIGTERM\n%s", g.tail())
	}
}

// expectEnd says that the process was to end.
func (g *gateway) expectEnd() { g.toEnd = true }

func (g *gateway) tail() string {
	log, _ := os.ReadFile(g.log.Name())
	return string(log[max(0, len(log)-4000):])
}

// await waits for a condition. The longer it has waited, the less often it looks,
// as a look can be a scrape.
func (g *gateway) await(what string, limit time.Duration, ok func() bool) {
	g.t.Helper()
	begin := time.Now()
	deadline := begin.Add(limit)
	for !ok() {
		select {
		case <-g.ended:
			g.t.Fatalf("the gateway ended: %v\n%s", g.err, g.tail())
		case <-time.After(min(max(time.Since(begin)/20, 20*time.Millisecond), 200*time.Millisecond)):
		}
		if time.Now().After(deadline) {
			g.t.Fatalf("not within %s: %s\n%s", limit, what, g.tail())
		}
	}
}

// app is an app with its keys.
type app struct {
	ID           string `json:"id"`
	PublishKey   string `json:"publish_key"`
	SubscribeKey string `json:"subscribe_key"`
	Connections  int    `json:"connections"`
}

// newApp makes an app through the admin API.
func (g *gateway) newApp() app {
	g.t.Helper()
	answer, err := g.http.Post("http://"+g.Admin+"/realtime/apps", "application/json", strings.NewReader(`{"name":"stress"}`))
	if err != nil {
		g.t.Fatal(err)
	}
	defer answer.Body.Close()
	var a app
	if err := json.NewDecoder(answer.Body).Decode(&a); err != nil || answer.StatusCode != http.StatusCreated {
		g.t.Fatalf("%s: %v", answer.Status, err)
	}
	return a
}

// connections is how many sockets an app has, by the admin API.
func (g *gateway) connections(a app) int {
	g.t.Helper()
	answer, err := g.http.Get("http://" + g.Admin + "/realtime/apps/" + a.ID)
	if err != nil {
		g.t.Fatal(err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&a); err != nil {
		g.t.Fatal(err)
	}
	return a.Connections
}

// publish publishes and returns how many subscribers there were.
func (g *gateway) publish(a app, channel, data string) (int, error) {
	return g.publishWith(g.http, a, channel, data)
}

func (g *gateway) publishWith(client *http.Client, a app, channel, data string) (int, error) {
	request, err := a.post("http://"+g.Addr, publication(channel, data))
	if err != nil {
		return 0, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err
	}
	var receipt struct{ Subscribers int }
	if answer.StatusCode != http.StatusOK || json.Unmarshal(text, &receipt) != nil {
		return 0, fmt.Errorf("%s: %s", answer.Status, text)
	}
	return receipt.Subscribers, nil
}

// publication is the body of a publish.
func publication(channel, data string) string {
	return fmt.Sprintf(`{"channel":%q,"event":"e","data":%s}`, channel, data)
}

// post is the request that publishes a body with the app's key.
func (a app) post(origin, body string) (*http.Request, error) {
	request, err := http.NewRequest(http.MethodPost, origin+"/publish", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-App-Id", a.ID)
	request.Header.Set("Authorization", "Bearer "+a.PublishKey)
	return request, nil
}

// reload loads a Caddyfile through the admin API.
func (g *gateway) reload(caddyfile string) error {
	answer, err := g.http.Post("http://"+g.Admin+"/load", "text/caddyfile", strings.NewReader(caddyfile))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", answer.Status, text)
	}
	return err
}

// usage is what the process holds.
type usage struct {
	goroutines, heap, fds int
}

var (
	goroutineCount = regexp.MustCompile(`goroutine profile: total (\d+)`)
	heapBytes      = regexp.MustCompile(`# HeapAlloc = (\d+)`)
)

// usage measures after a garbage collection.
func (g *gateway) usage() usage {
	g.t.Helper()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.cmd.Process.Pid))
	if err != nil {
		g.t.Fatal(err)
	}
	return usage{
		goroutines: g.profile("goroutine?debug=1", goroutineCount),
		heap:       g.profile("heap?gc=1&debug=1", heapBytes),
		fds:        len(fds),
	}
}

func (g *gateway) profile(name string, number *regexp.Regexp) int {
	g.t.Helper()
	return int(g.number("/debug/pprof/"+name, number))
}

// number reads one from a page of the admin endpoint.
func (g *gateway) number(path string, pattern *regexp.Regexp) float64 {
	g.t.Helper()
	text, err := g.get(path)
	if err != nil {
		g.t.Fatal(err)
	}
	match := pattern.FindStringSubmatch(text)
	if match == nil {
		g.t.Fatalf("no %s in %.10000s", pattern, text)
	}
	n, err := strconv.ParseFloat(match[1], 64)
	if err != nil {
		g.t.Fatal(err)
	}
	return n
}

// get reads a page of the admin endpoint.
func (g *gateway) get(path string) (string, error) {
	answer, err := g.http.Get("http://" + g.Admin + path)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return string(text), err
}

// settled waits until the process holds no more than before, but for a little
// that comes and goes with Caddy's own work.
func (g *gateway) settled(before usage) {
	g.t.Helper()
	var now usage
	limit := usage{before.goroutines + 5, before.heap + 2<<20, before.fds + 5}
	deadline := time.Now().Add(30 * time.Second)
	for {
		g.http.CloseIdleConnections()
		now = g.usage()
		if now.goroutines <= limit.goroutines && now.heap <= limit.heap && now.fds <= limit.fds {
			g.t.Logf("before %+v, now %+v", before, now)
			return
		}
		if time.Now().After(deadline) {
			g.t.Fatalf("before %+v, now %+v\n%s", before, now, g.goroutineDump())
		}
		time.Sleep(100 * time.Millisecond) // between two looks at the condition
	}
}

func (g *gateway) goroutineDump() string {
	text, err := g.get("/debug/pprof/goroutine?debug=1")
	if err != nil {
		return err.Error()
	}
	return text[:min(len(text), 8000)]
}

// each runs a function for 0…n-1 on so many goroutines, and collects errors.
func each(t *testing.T, n, workers int, do func(i int) error) {
	t.Helper()
	work := make(chan int)
	failures := make(chan error, n)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range work {
				if err := do(i); err != nil {
					failures <- fmt.Errorf("%d: %w", i, err)
				}
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	wg.Wait()
	close(failures)
	shown := 0
	for err := range failures {
		if shown++; shown > 5 {
			t.Fatalf("and %d more", len(failures)+1)
		}
		t.Error(err)
	}
	if t.Failed() {
		t.FailNow()
	}
}

// dial connects, over TLS if config is not nil; a certificate may take a
// moment to be issued.
func dial(addr string, config *tls.Config) (net.Conn, error) {
	if config == nil {
		return net.Dial("tcp", addr)
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		conn, err := tls.Dial("tcp", addr, config)
		if err == nil || time.Now().After(deadline) {
			return conn, err
		}
		time.Sleep(50 * time.Millisecond) // between two looks
	}
}
