package redis

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/rueidis"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/admittest"
	"github.com/seed-c079cc48/caddy-realtime/internal/idempotent"
	"github.com/seed-c079cc48/caddy-realtime/internal/limit"
)

func TestTermsOfThreeMachines(t *testing.T) {
	t.Parallel()
	admittest.Run(t, func(t *testing.T) []*hub.Hub[string] {
		t.Helper()
		s := startRedis(t)
		return []*hub.Hub[string]{s.hub(), s.hub(), s.hub()}
	})
}

// changeScript has the test's brokers run another script.
func changeScript(t *testing.T, from, to string) {
	t.Helper()
	if strings.Count(publishSource, from) != 1 {
		t.Fatalf("publish.lua does not have %q once", from)
	}
	before := publishScript
	publishScript = rueidis.NewLuaScript(strings.Replace(publishSource, from, to, 1))
	t.Cleanup(func() { publishScript = before })
}

// The times are those of the script, which it adds to a list.
func TestNoWindowOfThreeMachinesHoldsMoreThanTheLimit(t *testing.T) {
	changeScript(t, "		expire()\n", "		expire()\n		for _ = 1, count do redis.call('RPUSH', 'times', text(now)) end\n")
	for _, allowed := range []int{20, 5000} { // one entry for each, and entries of several
		t.Run(fmt.Sprint(allowed), func(t *testing.T) {
			s := startRedis(t)
			machines := ofMachines(s, 3)
			const windows = 5
			terms := hub.Terms{Limit: allowed, Window: 400 * time.Millisecond}
			end := time.Now().Add(windows * terms.Window)
			var publishing sync.WaitGroup
			for i, m := range machines {
				for range 4 {
					publishing.Go(func() {
						for n := 1; time.Now().Before(end); n = 1 + (n+i)%(1+allowed/20) {
							all := make([]*hub.Message, n)
							for i := range all {
								all[i] = &hub.Message{App: "app", Channel: "a", Event: "e"}
							}
							if _, err := m.Admit(t.Context(), all, terms); err != nil && !errors.Is(err, hub.ErrRateLimited) {
								t.Error(err)
							}
						}
					})
				}
			}
			publishing.Wait()
			times, err := s.do("LRANGE", "times", "0", "-1").AsIntSlice()
			if err != nil {
				t.Fatal(err)
			}
			for i := allowed; i < len(times); i++ {
				if d := times[i] - times[i-allowed]; d < terms.Window.Microseconds() {
					t.Fatalf("%d within %d µs", allowed+1, d)
				}
			}
			if len(times) < allowed {
				t.Errorf("only %d were accepted", len(times))
			}
			t.Logf("%d accepted", len(times))
		})
	}
}

// TestLimitIsThatOfOneMachine compares every answer with that of the package limit, at
// the same times, whose microseconds are nanoseconds there.
func TestLimitIsThatOfOneMachine(t *testing.T) {
	changeScript(t, "redis.call('TIME')", "{0, tonumber(redis.call('GET', 'clock'))}")
	s := startRedis(t)
	m := s.join("")
	client := m.client
	for seed := range uint64(12) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		allowed := 1 + rnd.IntN(1<<rnd.IntN(9))
		if seed%4 == 0 {
			allowed = 4096 + rnd.IntN(10_000)
		}
		window := time.Duration(1 + rnd.Int64N(1<<rnd.IntN(34)))
		app := fmt.Sprint("app", seed)
		type step struct {
			at, window time.Duration
			n, limit   int
			want       limit.Result
		}
		var steps []step
		synctest.Test(t, func(*testing.T) { // its clock is the test's
			var group limit.Group
			at := time.Duration(1_700_000_000_000_000)
			var last limit.Result
			for range 400 {
				var wait time.Duration
				switch rnd.IntN(6) {
				case 0, 1:
					wait = time.Duration(rnd.Int64N(int64(window)/int64(allowed) + 2))
				case 2:
					wait = last.RetryAfter
				case 3:
					wait = max(0, last.RetryAfter-1)
				case 4:
					if rnd.IntN(20) == 0 {
						wait = window - 1 + time.Duration(rnd.IntN(3))
					}
				}
				time.Sleep(wait)
				at += wait
				if rnd.IntN(50) == 0 {
					window -= window / 10 // a longer one counts what only refused publishes have dropped there
				}
				st := step{at: at, window: window, n: 1 + rnd.IntN(min(allowed, 100)), limit: allowed}
				if rnd.IntN(20) == 0 {
					st.limit = 1 + rnd.IntN(2*allowed)
				}
				st.want = group.AllowN("app", st.n, st.limit, st.window)
				last = st.want
				steps = append(steps, st)
			}
		})
		for i, st := range steps {
			if err := client.Do(t.Context(), client.B().Set().Key("clock").Value(fmt.Sprint(int64(st.at))).Build()).Error(); err != nil {
				t.Fatal(err)
			}
			all := make([]*hub.Message, st.n)
			for i := range all {
				all[i] = &hub.Message{App: app, Channel: "a", Event: "e", NoHistory: true}
			}
			o, err := m.Admit(t.Context(), all, hub.Terms{Limit: st.limit, Window: st.window * 1000})
			if (err == nil) != st.want.OK || err != nil && !errors.Is(err, hub.ErrRateLimited) {
				t.Fatalf("seed %d, step %d: %v, want %+v", seed, i, err, st.want)
			}
			want := st.want
			want.Reset, want.RetryAfter = 1000*want.Reset, 1000*want.RetryAfter
			if o.Rate != want {
				t.Fatalf("seed %d, step %d: %d of %d in %s: %+v, want %+v", seed, i, st.n, st.limit, st.window, o.Rate, want)
			}
		}
		if n, err := s.do("LLEN", m.app(app).limitKey()).AsInt64(); err != nil || n > 4096 {
			t.Errorf("%d entries, %v", n, err)
		}
	}
}

func TestClockThatGoesBackStopsNobody(t *testing.T) {
	changeScript(t, "redis.call('TIME')", "{redis.call('GET', 'clock'), 0}")
	s := startRedis(t)
	m := s.join("")
	terms := hub.Terms{Limit: 2, Window: time.Minute}
	for i, step := range []struct {
		clock string
		after time.Duration // 0: it is accepted
	}{
		{"10000", 0},
		{"10010", 0},
		{"5000", 50 * time.Second}, // as if no time had passed
		{"5049", time.Second},
		{"5050", 0},
		{"5051", 9 * time.Second},
		{"5060", 0},
	} {
		if err := s.do("SET", "clock", step.clock).Error(); err != nil {
			t.Fatal(err)
		}
		o, err := m.Admit(t.Context(), []*hub.Message{message("app", "a", "e")}, terms)
		if (err == nil) != (step.after == 0) || o.Rate.RetryAfter != step.after {
			t.Errorf("step %d at %s: %+v, %v", i, step.clock, o.Rate, err)
		}
	}
}

func TestLimitAndKeysExpire(t *testing.T) {
	s := startRedis(t)
	m := s.join("")
	a := m.app("app")
	window := 90 * time.Second
	admit := func(limit int) error {
		_, err := m.Admit(t.Context(), []*hub.Message{message("app", "a", "e")}, hub.Terms{Limit: limit, Window: window, Key: hub.IdempotencyKey{Value: "k" + fmt.Sprint(window)}})
		return err
	}
	left := func(key string) time.Duration {
		ms, err := s.do("PTTL", key).AsInt64()
		if err != nil {
			t.Fatal(err)
		}
		return time.Duration(ms) * time.Millisecond
	}
	if err := admit(1); err != nil {
		t.Fatal(err)
	}
	if d := left(a.limitKey()); d > window+time.Second || d < window-patience {
		t.Errorf("the limit expires after %s", d)
	}
	for _, key := range []string{a.claimsKey(), a.claimKey(keyName("k1m30s"))} {
		if d := left(key); d > idempotent.Lifetime || d < idempotent.Lifetime-patience {
			t.Errorf("%s expires after %s", key, d)
		}
	}
	window = time.Hour
	if err := admit(1); !errors.Is(err, hub.ErrRateLimited) {
		t.Errorf("%v", err)
	}
	if d := left(a.limitKey()); d < window-patience {
		t.Errorf("in a longer window, the limit expires after %s", d)
	}
}

func TestOldestKeysAreForgotten(t *testing.T) {
	changeScript(t, fmt.Sprint("lifetime, maxKeys = ", idempotent.Lifetime.Milliseconds(), ", ", idempotent.MaxKeys), "lifetime, maxKeys = 300000, 3")
	s := startRedis(t)
	m := s.join("")
	replayed := func(key string) bool {
		t.Helper()
		o, err := m.Admit(t.Context(), []*hub.Message{message("app", "a", "e")}, hub.Terms{Key: hub.IdempotencyKey{Value: key}})
		if err != nil {
			t.Fatal(err)
		}
		return o.Replayed
	}
	for _, key := range []string{"1", "2", "3"} {
		replayed(key)
	}
	if !replayed("1") || !replayed("3") {
		t.Error("a key is forgotten too early")
	}
	// The first expires, and is used again: then it is not the oldest.
	if err := s.do("DEL", m.app("app").claimKey(keyName("1"))).Error(); err != nil {
		t.Fatal(err)
	}
	if replayed("1") || !replayed("1") || !replayed("2") {
		t.Error("a key that was used again is forgotten")
	}
	if replayed("4") || replayed("2") {
		t.Error("the oldest key is not forgotten")
	}
}

// The publish has happened, but its answer is lost.
func TestRepetitionAfterALostAnswerIsNotPublished(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	network := s.through(0)
	machines := []*machine{join(t, network.url(), ""), s.join("")}
	machines[1].subscribe("app", "a")
	terms := hub.Terms{Limit: 10, Window: time.Hour, Key: hub.IdempotencyKey{Value: "k"}}
	for range 100 { // Redis has the script, and the client all of its connections
		machines[0].publish(message("app", "b", "first"))
	}
	network.suspend()
	answered := make(chan error)
	go func() {
		_, err := machines[0].Admit(t.Context(), []*hub.Message{message("app", "a", "e")}, terms)
		answered <- err
	}()
	until(t, "the script has run", func() bool {
		n, err := s.do("EXISTS", machines[1].app("app").claimKey(keyName("k"))).AsInt64()
		return err == nil && n == 1
	})
	network.lead(s)
	network.resume()
	if err := <-answered; err == nil {
		t.Fatal("it was answered")
	}
	again := message("app", "a", "e")
	o, err := machines[1].Admit(t.Context(), []*hub.Message{again}, terms)
	if err != nil || !o.Replayed || again.Offset != 101 || o.Rate.Remaining != 9 {
		t.Errorf("%+v, %+v, %v", again.Position, o, err)
	}
	machines[0].publishUntilAccepted(new(ledger), "app", "a", "end")
	until(t, "the end arrives", func() bool {
		return slices.ContainsFunc(machines[1].delivered("app"), func(m *hub.Message) bool { return m.Event == "end" })
	})
	var once int
	for _, m := range machines[1].delivered("app") {
		if m.Event == "e" {
			once++
		}
	}
	if once != 1 {
		t.Errorf("it was delivered %d times", once)
	}
}

func TestWithoutMemoryNothingIsClaimedOrCounted(t *testing.T) {
	s := startRedis(t)
	m := s.join("")
	terms := hub.Terms{Limit: 1, Window: time.Hour, Key: hub.IdempotencyKey{Value: "k"}}
	if err := s.do("CONFIG", "SET", "maxmemory", "1").Error(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Admit(t.Context(), []*hub.Message{message("app", "a", "e")}, terms); err == nil || !strings.Contains(err.Error(), "maxmemory") {
		t.Fatalf("%v", err)
	}
	if err := s.do("CONFIG", "SET", "maxmemory", "0").Error(); err != nil {
		t.Fatal(err)
	}
	sent := message("app", "a", "e")
	if o, err := m.Admit(t.Context(), []*hub.Message{sent}, terms); err != nil || o.Replayed || sent.Offset != 1 {
		t.Errorf("%+v, %+v, %v", sent.Position, o, err)
	}
}

func TestLogOfTheLimitIsBounded(t *testing.T) {
	changeScript(t, "redis.call('TIME')", "{0, tonumber(redis.call('GET', 'clock'))}")
	s := startRedis(t)
	m := s.join("")
	client, now := m.client, int64(1_700_000_000_000_000)
	admit := func(wait time.Duration, limit int) {
		t.Helper()
		now += wait.Microseconds()
		if err := client.Do(t.Context(), client.B().Set().Key("clock").Value(fmt.Sprint(now)).Build()).Error(); err != nil {
			t.Fatal(err)
		}
		sent := &hub.Message{App: "app", Channel: "a", Event: "e"}
		if _, err := m.Admit(t.Context(), []*hub.Message{sent}, hub.Terms{Limit: limit, Window: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	entries := func(want int64) {
		t.Helper()
		if n, err := s.do("LLEN", m.app("app").limitKey()).AsInt64(); err != nil || n != want {
			t.Errorf("%d entries, want %d, %v", n, want, err)
		}
	}
	for range 10 {
		admit(0, 4096)
	}
	entries(1) // at the same time
	for range 4086 {
		admit(time.Microsecond, 4096)
	}
	entries(4087)
	for range 20 {
		admit(time.Second, 1_000_000)
	}
	entries(4096) // close entries from before the higher limit leave no room for others
	admit(time.Hour+time.Second, 4096)
	entries(1)
}

// BenchmarkTerms reports the time that Redis takes for a publish, in microseconds, and the
// memory of the limit's log, in bytes.
func BenchmarkTerms(b *testing.B) {
	s := startRedis(b)
	m := s.join("")
	for _, bench := range []struct {
		name  string
		terms hub.Terms
		keyed bool
	}{
		{"none", hub.Terms{}, false},
		{"limit=600", hub.Terms{Limit: 600, Window: 50 * time.Millisecond}, false},
		{"limit=4096", hub.Terms{Limit: 4096, Window: 300 * time.Millisecond}, false},
		{"limit=1000000", hub.Terms{Limit: 1_000_000, Window: time.Second}, false},
		{"refused", hub.Terms{Limit: 1, Window: time.Hour}, false},
		{"key", hub.Terms{}, true},
		{"limit and key", hub.Terms{Limit: 1_000_000, Window: time.Second}, true},
	} {
		b.Run(bench.name, func(b *testing.B) {
			_ = s.do("CONFIG", "RESETSTAT").Error()
			for n := 0; b.Loop(); n++ {
				sent := &hub.Message{App: bench.name, Channel: "a", Event: "e", Data: []byte("1")}
				if bench.keyed {
					bench.terms.Key.Value = fmt.Sprint(b.N, n)
				}
				if _, err := m.Admit(b.Context(), []*hub.Message{sent}, bench.terms); err != nil && !errors.Is(err, hub.ErrRateLimited) {
					b.Fatal(err)
				}
			}
			stats, err := s.do("INFO", "commandstats").ToString()
			if err != nil {
				b.Fatal(err)
			}
			_, stats, _ = strings.Cut(stats, "cmdstat_evalsha:")
			_, stats, _ = strings.Cut(stats, "usec_per_call=")
			var took float64
			if _, err := fmt.Sscanf(stats, "%f", &took); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(took, "redis-µs/op")
			if n, err := s.do("MEMORY", "USAGE", m.app(bench.name).limitKey()).AsInt64(); err == nil {
				b.ReportMetric(float64(n), "log-B")
			}
		})
	}
}

// Publishes that come while one is on its way go to Redis together; each is answered by
// itself.
func TestPublishesThatWaitGoTogetherAndAreAnsweredEach(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	m := join(t, s.through(20*time.Millisecond).url(), "") // slow, so that they wait
	calls := func() int {
		_, stats, _ := strings.Cut(s.cli("INFO", "commandstats"), "cmdstat_evalsha:calls=")
		text, _, _ := strings.Cut(stats, ",")
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	const publishers = 200
	for app, want := range map[string]struct {
		limit int
		same  int // so many have one key, and as many have it with another body
		count map[error]int64
	}{
		"app":     {1000, 20, map[error]int64{nil: 161, errReplayed: 19, hub.ErrIdempotencyMismatch: 20}},
		"limited": {120, 0, map[error]int64{nil: 120, hub.ErrRateLimited: 80}},
	} {
		m.subscribe(app, "a")
		m.publish(message(app, "a", "first"))
		before := calls()
		var l ledger
		var mu sync.Mutex
		count := make(map[error]int64)
		var publishing sync.WaitGroup
		for i := range publishers {
			publishing.Go(func() {
				terms, all := hub.Terms{Limit: want.limit, Window: time.Hour}, []*hub.Message{message(app, "a", fmt.Sprint(i))}
				if i < 2*want.same {
					terms.Key, all[0].Event = hub.IdempotencyKey{Value: "same", Body: [32]byte{byte(i % 2)}}, "same"
				}
				o, err := m.Admit(t.Context(), all, terms)
				if o.Replayed {
					err = errors.Join(err, errReplayed)
				}
				mu.Lock()
				defer mu.Unlock()
				for known := range want.count {
					if errors.Is(err, known) {
						count[known]++
					}
				}
				if err == nil {
					l.add(all...)
				}
			})
		}
		publishing.Wait()
		if !maps.Equal(count, want.count) {
			t.Errorf("%s: %v, not %v", app, count, want.count)
		}
		if made := calls() - before; made > publishers/4 {
			t.Errorf("%s: %d calls for %d publishes", app, made, publishers)
		}
		until(t, "all arrive", func() bool { return len(m.delivered(app)) == 1+int(want.count[nil]) })
		l.expect(m, app, "a")
	}
}

var errReplayed = errors.New("replayed")
