package stress

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/tests/client"
)

// strangerIP is an address that nobody else comes from: answers to one that
// sends wrong keys again and again would be slow.
func strangerIP() string {
	return fmt.Sprintf("198.18.%d.%d", rand.IntN(256), rand.IntN(256))
}

var forwarding = `{
	admin %s
	persist_config off
	servers {
		trusted_proxies static 127.0.0.0/8
		trusted_proxies_strict
	}
	realtime {
		rate_limit 0
		%s
	}
}
http://%s {
	realtime
}
`

// prepareForwarding is prepare for a gateway that believes who a request is from.
func prepareForwarding(t *testing.T, settings string) *gateway {
	t.Helper()
	return prepare(t, func(g *gateway) string { return fmt.Sprintf(forwarding, g.Admin, settings, g.Addr) })
}

// publishCode publishes with a key, and returns the error's code, "" if it was
// accepted.
func (g *gateway) publishCode(app, key string) (string, error) {
	request, err := http.NewRequest(http.MethodPost, "http://"+g.Addr+"/publish", strings.NewReader(`{"channel":"c","event":"e"}`))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-App-Id", app)
	request.Header.Set("Authorization", "Bearer "+key)
	request.Header.Set("X-Forwarded-For", strangerIP())
	answer, err := g.http.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode == http.StatusOK {
		return "", err
	}
	var refusal struct{ Error struct{ Code string } }
	err = json.Unmarshal(text, &refusal)
	return refusal.Error.Code, err
}

// connectCode connects with a key, and returns the error's code, "" if it was
// let in.
func (g *gateway) connectCode(app, key string) (string, error) {
	request := client.HandshakeRequest(g.Addr, "/socket.io/?EIO=4&transport=websocket")
	request = strings.Replace(request, "\r\n", "\r\nX-Forwarded-For: "+strangerIP()+"\r\n", 1)
	auth := fmt.Sprintf(`40{"appId":%q,"subscribeKey":%q}`, app, key)
	socket, err := client.DialRequest(g.Addr, request, client.TextFrame(auth))
	if err != nil {
		return "", err
	}
	defer socket.Reset()
	for {
		packet, err := socket.Read()
		switch {
		case err != nil:
			return "", err
		case strings.HasPrefix(packet, "40"):
			return "", nil
		case strings.HasPrefix(packet, "44"):
			var refusal struct{ Data struct{ Code string } }
			err := json.Unmarshal([]byte(packet[2:]), &refusal)
			return refusal.Data.Code, err
		}
	}
}

// apps are all that there are.
func (g *gateway) apps() map[string]*appView {
	g.t.Helper()
	all := make(map[string]*appView)
	for after := ""; ; {
		answer, err := g.http.Get("http://" + g.Admin + "/realtime/apps?limit=1000&after=" + url.QueryEscape(after))
		if err != nil {
			g.t.Fatal(err)
		}
		var page struct {
			Apps []*appView
			Next string
		}
		err = json.NewDecoder(answer.Body).Decode(&page)
		answer.Body.Close()
		if err != nil {
			g.t.Fatal(err)
		}
		for _, v := range page.Apps {
			all[v.ID] = v
		}
		if page.Next == "" {
			return all
		}
		after = page.Next
	}
}

// A crew of operators works at a time.
type crew struct {
	g        *gateway
	rng      *rand.Rand
	all      []*provisioner
	answered atomic.Int64
}

// newCrew has a seed that is logged, or FAULT_SEED.
func newCrew(g *gateway, operators int) *crew {
	seed := rand.Uint64()
	if s, err := strconv.ParseUint(os.Getenv("FAULT_SEED"), 10, 64); err == nil {
		seed = s
	}
	g.t.Logf("FAULT_SEED=%d", seed)
	c := &crew{g: g, rng: rand.New(rand.NewPCG(seed, 0))}
	for i := range operators {
		c.all = append(c.all, &provisioner{
			g: g, name: fmt.Sprint("operator ", i), rng: rand.New(rand.NewPCG(seed, uint64(i+1))),
			client: &http.Client{Timeout: time.Minute, Transport: &http.Transport{}}, answered: &c.answered,
		})
	}
	return c
}

// start has everybody work, until the function that it returns is called and
// has returned; a request that is not answered ends one's work, too.
func (c *crew) start() (finish func()) {
	return c.startThat(noError)
}

// noError expects none.
func noError(error) bool { return false }

// startThat is start with errors that are no failure.
func (c *crew) startThat(expected func(error) bool) (finish func()) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	errs := make(chan error, len(c.all))
	for _, p := range c.all {
		wg.Go(func() { errs <- p.work(stop) })
	}
	return func() {
		close(stop)
		wg.Wait()
		close(errs)
		for err := range errs {
			if err != nil && !expected(err) {
				c.g.t.Error(err)
			}
		}
		for _, p := range c.all {
			p.client.CloseIdleConnections()
		}
		c.g.http.CloseIdleConnections()
	}
}

// check compares what there is with what was answered.
func (c *crew) check(keys int) {
	c.g.t.Helper()
	there := c.g.apps()
	for _, p := range c.all {
		if err := p.check(there); err != nil {
			c.g.t.Error(err)
		}
	}
	for id, v := range there {
		c.g.t.Errorf("nobody has made app %s: %+v", id, v)
	}
	var wg sync.WaitGroup
	for _, p := range c.all {
		wg.Go(func() {
			if err := p.everyKey(keys); err != nil {
				c.g.t.Error(err)
			}
		})
	}
	wg.Wait()
}

// survives ends the process at random moments, in the way of a fault, and checks
// at the next start that all that was answered is there, and what was not is
// there wholly or not at all.
func (c *crew) survives(end func(), expected func(error) bool) {
	t, g := c.g.t, c.g
	t.Helper()
	var slowest time.Duration
	for round := range faultRounds(2, 10) {
		for range c.rng.IntN(3) { // at a start, too, when the store goes over its files
			g.launch()
			time.Sleep(time.Duration(c.rng.IntN(400)) * time.Millisecond) // the moment is the point
			end()
		}
		begin := time.Now()
		g.boot()
		slowest = max(slowest, time.Since(begin))
		c.check(20)
		finish := c.startThat(expected)
		time.Sleep(time.Duration(c.rng.IntN(600)) * time.Millisecond) // the moment is the point
		end()
		finish()
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	g.boot()
	c.check(1000)
	apps := 0
	for _, p := range c.all {
		apps += len(p.tenants)
	}
	t.Logf("%d changes were answered, %d apps were made; the slowest start took %s", c.answered.Load(), apps, slowest)
}

func TestKilledAnywhereInProvisioningNothingAnsweredIsLost(t *testing.T) {
	t.Parallel()
	g := prepareForwarding(t, "")
	newCrew(g, 6).survives(g.kill, noError)
}

// A process that is stopped and goes on, for less or more than the heartbeat,
// has lost neither a change nor a client, and knows no key that was revoked.
func TestStoppedAnywhereInProvisioningNothingIsLost(t *testing.T) {
	t.Parallel()
	g := prepareForwarding(t, "ping_interval 500ms\n		ping_timeout 5s")
	g.boot()
	c := newCrew(g, 4)
	a := g.newApp()
	crowd := g.join(a, "c", append(repeat(client.OverWebSocket, 30), repeat(client.OverPolling, 10)...)...)
	published := 0
	publish := func() {
		published++
		if n, err := g.publish(a, "c", strconv.Itoa(published)); n != len(crowd.clients) || err != nil {
			t.Fatalf("published to %d of %d, %v", n, len(crowd.clients), err)
		}
	}
	for round := range faultRounds(2, 10) {
		stop := time.Duration(c.rng.IntN(8000)) * time.Millisecond
		if round%2 == 0 { // a pong that waits has the least time when it goes on
			stop = 4700*time.Millisecond + time.Duration(c.rng.IntN(400))*time.Millisecond
		}
		finish := c.start()
		time.Sleep(time.Duration(c.rng.IntN(300)) * time.Millisecond) // the moment is the point
		publish()
		if err := g.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		time.Sleep(stop)
		if err := g.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		publish()
		finish()
	}
	g.check(crowd, 1, published)
	there := g.apps()
	if there[a.ID] == nil {
		t.Error(errors.New("the subscribers' app is gone"))
	}
	c.all[0].tenants = append(c.all[0].tenants, adopt(there[a.ID]))
	c.check(1000)
	crowd.close(t)
	g.kill()
	g.boot()
	c.check(1000)
	t.Logf("%d changes were answered, %d events were published", c.answered.Load(), published)
}
