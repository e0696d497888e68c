package redis

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// progress waits until n more messages have been accepted.
func (l *ledger) progress(t testing.TB, n int) {
	t.Helper()
	count := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.all)
	}
	before := count()
	until(t, "more messages are accepted", func() bool { return count() >= before+n })
}

func TestKilledConnectionsLoseAndDoubleNothing(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	machines := ofMachines(s, 3)
	for _, m := range machines {
		m.subscribe("app", "a", "b", "c")
		m.subscribe("other", "a")
	}
	var l ledger
	stop := l.load(machines, "app", 4, "a", "b", "c")
	for range 5 {
		l.progress(t, 100)
		if n, err := s.do("CLIENT", "KILL", "TYPE", "pubsub").AsInt64(); err != nil || n == 0 {
			t.Errorf("%d connections killed, %v", n, err)
		}
		l.progress(t, 100)
		for _, m := range machines {
			until(t, "the subscriptions are back", m.connected("app"))
		}
	}
	stop()
	for _, m := range machines {
		l.expect(m, "app", "a", "b", "c")
	}
}

// connected reports whether the app's lane has a connection.
func (m *machine) connected(app string) func() bool {
	return func() bool {
		l := m.lane(app)
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.conn != nil
	}
}

func TestServerThatKeepsItsDataGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	s := startRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	machines := ofMachines(s, 3)
	for _, m := range machines {
		m.subscribe("app", "a", "b")
	}
	var l ledger
	stop := l.load(machines, "app", 2, "a", "b")
	for range 2 {
		l.progress(t, 100)
		s.kill()
		s.start()
	}
	l.progress(t, 100)
	stop()
	for _, m := range machines {
		l.expect(m, "app", "a", "b")
		all := m.delivered("app")
		if first, last := all[0].Epoch, all[len(all)-1].Epoch; first != last {
			t.Errorf("the epoch %s became %s", first, last)
		}
	}
}

func TestServerThatLostItsDataBeginsANewEpoch(t *testing.T) {
	s := startRedis(t)
	machines := ofMachines(s, 2)
	for _, m := range machines {
		m.subscribe("app", "a", "b")
	}
	before := message("app", "a", "before")
	machines[0].publish(before, message("app", "b", "before"))
	for _, m := range machines {
		until(t, "the first two arrive", func() bool { return len(m.delivered("app")) == 2 })
	}
	s.kill()
	s.start()
	after := message("app", "a", "after")
	until(t, "publishing goes on", func() bool { return machines[1].Publish(t.Context(), []*hub.Message{after}) == nil })
	if after.Epoch == before.Epoch || after.Offset != 1 {
		t.Errorf("%v after %v", after.Position, before.Position)
	}
	for _, m := range machines {
		until(t, "the third arrives", func() bool { return len(m.delivered("app")) == 3 })
		if got := m.delivered("app")[2]; got.Position != after.Position {
			t.Errorf("got %v, want %v", got.Position, after.Position)
		}
	}
}

// A failover promotes a replica that has not got the last messages.
func TestOffsetsThatWereLostAreNotGivenAgain(t *testing.T) {
	s := startRedis(t)
	machines := ofMachines(s, 2)
	for _, m := range machines {
		m.subscribe("app", "a")
	}
	for i := range 10 {
		machines[0].publish(message("app", "a", fmt.Sprint(i)))
	}
	for _, m := range machines {
		until(t, "ten arrive", func() bool { return len(m.delivered("app")) == 10 })
	}
	before := machines[0].delivered("app")[9].Position
	if err := s.do("HSET", baseName("rt", "app")+"m", "o", "4").Error(); err != nil {
		t.Fatal(err)
	}
	after := message("app", "a", "after")
	machines[1].publish(after)
	if after.Epoch == before.Epoch {
		t.Errorf("%v after %v", after.Position, before)
	}
	for _, m := range machines {
		until(t, "the next arrives", func() bool { return len(m.delivered("app")) == 11 })
	}
	// A machine that was cut off finds out by itself, before anybody publishes.
	for i := range 10 {
		machines[0].publish(message("app", "a", fmt.Sprint(i)))
	}
	until(t, "ten more arrive", func() bool { return len(machines[1].delivered("app")) == 21 })
	key := baseName("rt", "app") + "m"
	if err := s.do("HSET", key, "o", "4").Error(); err != nil {
		t.Fatal(err)
	}
	if err := s.do("CLIENT", "KILL", "TYPE", "pubsub").Error(); err != nil {
		t.Fatal(err)
	}
	until(t, "a new epoch", func() bool {
		epoch, err := s.do("HGET", key, "e").ToString()
		return err == nil && epoch != after.Epoch
	})
}

func TestServerThatHangsFailsPublishesAndGoesOn(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	machines := ofMachines(s, 2)
	for _, m := range machines {
		m.subscribe("app", "a")
	}
	var l ledger
	first := message("app", "a", "first")
	machines[0].publish(first)
	l.add(first)
	s.signal(syscall.SIGSTOP)
	err := machines[0].Publish(t.Context(), []*hub.Message{message("app", "a", "lost or not")})
	if err == nil || !strings.Contains(err.Error(), "redis at") {
		t.Errorf("got %v", err)
	}
	s.signal(syscall.SIGCONT)
	after := message("app", "a", "after")
	until(t, "publishing goes on", func() bool { return machines[0].Publish(t.Context(), []*hub.Message{after}) == nil })
	l.add(after)
	for _, m := range machines {
		l.expect(m, "app", "a")
	}
}

func TestServerWithoutMemoryAcceptsNothingOfABatch(t *testing.T) {
	s := startRedis(t)
	m := s.join("")
	m.subscribe("app", "a")
	first, last := message("app", "a", "first"), message("app", "a", "last")
	m.publish(first)
	limit := func(bytes string) {
		t.Helper()
		if err := s.do("CONFIG", "SET", "maxmemory", bytes).Error(); err != nil {
			t.Fatal(err)
		}
	}
	limit("1")
	err := m.Publish(t.Context(), []*hub.Message{message("app", "a", "no"), message("app", "a", "nor this")})
	if err == nil || !strings.Contains(err.Error(), "OOM") {
		t.Errorf("got %v", err)
	}
	limit("0")
	if m.publish(last); last.Epoch != first.Epoch || last.Offset != 2 {
		t.Errorf("%v after %v", last.Position, first.Position)
	}
	until(t, "the last message", func() bool {
		all := m.delivered("app")
		return len(all) == 2 && all[1].Event == "last"
	})
}

func TestServerWithoutMemoryRefusesTheFirstSubscriptionOfAnApp(t *testing.T) {
	s := startRedis(t)
	m := s.join("")
	if err := s.do("CONFIG", "SET", "maxmemory", "1").Error(); err != nil {
		t.Fatal(err)
	}
	if err := m.Interest(t.Context(), "app", "a", true); err == nil || !strings.Contains(err.Error(), "maxmemory") {
		t.Errorf("%v, not what Redis answered", err)
	}
	if err := m.Sync(t.Context(), "other"); err == nil || !strings.Contains(err.Error(), "maxmemory") {
		t.Errorf("%v, not what Redis answered", err)
	}
}

func TestConnectionsThatEndAreOneLineIn10Seconds(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	core, logs := observer.New(zap.WarnLevel)
	m := joinLogged(t, Server{URL: s.url()}, zap.New(core))
	began := time.Now()
	for i := range 20 {
		m.subscribe(fmt.Sprint("app", i), "a")
	}
	s.kill()
	until(t, "all lanes have tried to connect some times", func() bool { return m.measures.reconnects.Load() > 40 })
	lines := logs.FilterMessage("connection lost; subscribing again").Len()
	if most := 1 + int(time.Since(began)/(10*time.Second)); lines < 1 || lines > most {
		t.Errorf("%d lines, not 1 to %d", lines, most)
	}
}

func TestMachineThatIsBehindCatchesUp(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	m, publisher := s.join(""), s.join("")
	m.subscribe("app", "a", "b")
	hold := make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	t.Cleanup(release)
	m.mu.Lock()
	m.hold = hold
	m.mu.Unlock()
	var l ledger
	a, data := m.app("app"), []byte(`"`+strings.Repeat("x", 64<<10)+`"`)
	forgotten := func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.behind
	}
	for i := 0; !forgotten(); i++ {
		if i > 3*maxQueue/len(data) {
			t.Fatal("the queue has no bound")
		}
		sent := message("app", string(rune('a'+i%2)), fmt.Sprint(i))
		sent.Data = data
		publisher.publish(sent)
		l.add(sent)
	}
	m.mu.Lock()
	m.hold = nil
	m.mu.Unlock()
	release()
	l.expect(m, "app", "a", "b")
	if n := len(m.delivered("app")); n != len(l.all) {
		t.Errorf("%d messages of %d", n, len(l.all))
	}
}

// A message that is in its stream, but not received, is seen by the next.
func TestGapIsFilledBeforeTheNextMessage(t *testing.T) {
	s := startRedis(t)
	m := s.join("")
	m.subscribe("app", "a")
	m.publish(message("app", "a", "1"))
	until(t, "the first arrives", func() bool { return len(m.delivered("app")) == 1 })
	l := m.lane("app")
	name := m.app("app").pubsubName("a")
	l.mu.Lock()
	sub := l.subs[name]
	delete(l.subs, name) // so that what is received is ignored
	l.mu.Unlock()
	missed := message("app", "a", "2")
	m.publish(missed)
	// The answer of this connection comes after the message.
	if _, err := m.app("app").standing(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	l.subs[name] = sub
	l.mu.Unlock()
	m.publish(message("app", "a", "3"))
	until(t, "all arrive", func() bool { return len(m.delivered("app")) == 3 })
	for i, got := range m.delivered("app") {
		if got.Event != strconv.Itoa(i+1) {
			t.Errorf("%s in place %d", got.Event, i+1)
		}
	}
}

func TestSilentSubscriptionIsRenewed(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	m := s.join("")
	m.subscribe("app", "a")
	l := m.lane("app")
	conn := l.current()
	// The server forgets the connection's subscriptions, as a failover can.
	if err := conn.Do(t.Context(), conn.B().Sunsubscribe().Channel(l.name+m.probe).Build()).Error(); err != nil {
		t.Fatal(err)
	}
	until(t, "there is another connection", func() bool {
		now := l.current()
		return now != nil && now != conn
	})
	m.publish(message("app", "a", "e"))
	until(t, "a message", func() bool { return len(m.delivered("app")) == 1 })
}

func TestSubscriptionThatTheServerEndsIsRenewed(t *testing.T) {
	s := startRedis(t)
	m := s.join("")
	m.subscribe("app", "a")
	l := m.lane("app")
	conn := l.current()
	if err := conn.Do(t.Context(), conn.B().Sunsubscribe().Channel(m.app("app").pubsubName("a")).Build()).Error(); err != nil {
		t.Fatal(err)
	}
	sent := message("app", "a", "e")
	m.publish(sent)
	var led ledger
	led.add(sent)
	led.expect(m, "app", "a")
}

func TestClusterCarriesTheMessagesOfAllApps(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t)
	machines := []*machine{nodes[0].join(""), nodes[1].join("")}
	const apps = 12
	ledgers := make([]ledger, apps)
	for i := range ledgers {
		app := fmt.Sprint("app", i)
		for _, m := range machines {
			m.subscribe(app, "a", "b")
		}
		for j := range 20 {
			all := []*hub.Message{message(app, "a", fmt.Sprint(j)), message(app, "b", fmt.Sprint(j))}
			machines[j%2].publish(all...)
			ledgers[i].add(all...)
		}
	}
	for i := range ledgers {
		for _, m := range machines {
			ledgers[i].expect(m, fmt.Sprint("app", i), "a", "b")
		}
	}
	nodes[2].kill()
	nodes[2].start()
	for i := range ledgers {
		app := fmt.Sprint("app", i)
		sent := message(app, "a", "after")
		until(t, "publishing goes on", func() bool {
			err := machines[0].Publish(t.Context(), []*hub.Message{sent})
			if err != nil {
				time.Sleep(50 * time.Millisecond)
			}
			return err == nil
		})
		ledgers[i].add(sent)
		for _, m := range machines {
			ledgers[i].expect(m, app, "a", "b")
		}
	}
}

// A server that has restarted without its data takes over for a moment, and then a
// replica that lacks the latest writes: the epoch from before must not go on, because the
// positions that were lost would be given again.
func TestEpochThatWasLeftDoesNotGoOn(t *testing.T) {
	t.Parallel()
	full, empty := startRedis(t), startRedis(t)
	old := full.replica()
	network := full.through(0)
	m := join(t, network.url(), "")
	m.subscribe("app", "a")
	var l ledger
	m.publishUntilAccepted(&l, "app", "a", "first")
	if n, err := full.do("WAIT", "1", "0").AsInt64(); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	if err := old.do("REPLICAOF", "NO", "ONE").Error(); err != nil {
		t.Fatal(err)
	}
	m.publishUntilAccepted(&l, "app", "a", "lost")
	until(t, "it arrives", func() bool { return len(m.delivered("app")) == 2 })
	for _, s := range []*redisServer{empty, old} {
		network.lead(s)
		m.publishUntilAccepted(&l, "app", "a", fmt.Sprint("on ", s.port))
		until(t, "it arrives", func() bool {
			got := m.delivered("app")
			return got[len(got)-1].Event == fmt.Sprint("on ", s.port)
		})
	}
	seen := make(map[string]bool)
	epochs := make(map[string]bool)
	for _, got := range m.delivered("app") {
		if seen[got.ID()] {
			t.Errorf("%s was given twice", got.ID())
		}
		seen[got.ID()], epochs[got.Epoch] = true, true
	}
	if len(epochs) != 3 {
		t.Errorf("%d epochs, not 3", len(epochs))
	}
}

func TestMachineThatStartsWithoutRedisGoesOnOnceItIsThere(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	s.kill()
	m := newNode(t, s.url(), "", "a", leaseTime)
	if err := m.Publish(t.Context(), []*hub.Message{message("app", "a", "early")}); err == nil || !strings.Contains(err.Error(), "redis at 127.0.0.1:") {
		t.Errorf("%v is not the error of a server that is away", err)
	}
	if _, err := m.Now(t.Context()); err == nil {
		t.Error("it has the time of a server that is away")
	}
	m.Forget("forgotten")
	subscribed := make(chan error, 1)
	go func() { subscribed <- m.Interest(t.Context(), "app", "a", true) }()
	s.start()
	if err := <-subscribed; err != nil {
		t.Error(err)
	}
	last := message("app", "a", "last")
	until(t, "publishing goes on", func() bool { return m.Publish(t.Context(), []*hub.Message{last}) == nil })
	until(t, "the message arrives", func() bool { return len(m.delivered("app")) == 1 })
	until(t, "the machine has joined", func() bool {
		secret, err := m.Secret(t.Context())
		return err == nil && len(secret) > 0
	})
}

func TestMachineThatNeverReachedRedisCloses(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	s.kill()
	m := s.join("")
	m.lane("app") // runs
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}
