package redis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/cluster"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/random"
	"go.uber.org/zap/zaptest"
)

// nobody answers no questions.
type nobody struct{}

func (nobody) Answer(context.Context, string, []byte) ([]byte, error) {
	return nil, errors.New("no answer")
}
func (nobody) Gone(cluster.Machine) {}

// A gateway is a hub on a machine that has joined. Its payloads are IDs, channels and
// data.
type gateway struct {
	hub   *hub.Hub[string]
	store *broker
}

func (s *redisServer) gateway() gateway {
	s.t.Helper()
	module := Broker{Server{URL: s.url()}}
	if err := module.provision("broker"); err != nil {
		s.t.Fatal(err)
	}
	opened, err := module.Open(zaptest.NewLogger(s.t, zaptest.Level(zapLevel)))
	if err != nil {
		s.t.Fatal(err)
	}
	h, err := hub.New(opened, hub.Codec[string]{
		Encode:  func(m *hub.Message) string { return m.ID() + " " + m.Channel + " " + string(m.Data) },
		Text:    func(s string) []byte { return []byte(s[strings.Index(s, " "):]) },
		Payload: func(text []byte, id string) (string, error) { return id + string(text), nil },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := h.Close(); err != nil {
			s.t.Error(err)
		}
	})
	b := opened.(*broker)
	if err := b.Join(cluster.Machine{ID: random.Text(cluster.IDLength)}, nobody{}); err != nil {
		s.t.Fatal(err)
	}
	return gateway{h, b}
}

func record(pid string, version uint64) *hub.SessionRecord {
	return &hub.SessionRecord{
		SessionSnapshot: hub.SessionSnapshot{
			App: "app", ID: "id", PID: pid, User: "ann", Start: 3,
			Channels: []hub.SubscriptionSnapshot{{Channel: "a\x00\"é", Since: 7}},
			Replays:  []hub.ReplaySnapshot{{Channel: "a", At: 9, Offsets: []byte{1, 200, 1}}},
		},
		Epoch: "e", Version: version,
	}
}

func TestSessionIsThatOfOneMachineAtATime(t *testing.T) {
	s := startRedis(t)
	one, other := s.gateway().store, s.gateway().store
	ctx := t.Context()
	found := func(want *hub.SessionRecord, machine *broker) {
		t.Helper()
		r, id, err := other.FindSession(ctx, "app", "p")
		if err != nil || fmt.Sprint(r) != fmt.Sprint(want) || want != nil && id != machine.member().id {
			t.Errorf("%v of %s, %v; want %v", r, id, err, want)
		}
	}
	take := func(b, from *broker, want bool) {
		t.Helper()
		if taken, err := b.TakeSession(ctx, "app", "p", from.member().id); err != nil || taken != want {
			t.Errorf("taken: %t, %v", taken, err)
		}
	}
	save := func(b *broker, version uint64, want error) {
		t.Helper()
		if err := b.SaveSession(ctx, record("p", version), time.Minute); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	drop := func(b *broker) {
		t.Helper()
		if err := b.DropSession(ctx, "app", "p"); err != nil {
			t.Error(err)
		}
	}
	found(nil, nil)
	take(other, one, false)
	save(one, 2, nil)
	save(one, 1, nil) // one that was overtaken
	found(record("p", 2), one)
	save(other, 3, hub.ErrTaken)
	drop(other)
	found(record("p", 2), one)
	take(other, one, true)
	take(one, one, false)
	save(one, 9, hub.ErrTaken)
	drop(one)
	found(record("p", 2), other)
	save(other, 3, nil)
	found(record("p", 3), other)
	if ms, err := s.do("PTTL", other.sessionKey("app", "p")[0]).AsInt64(); err != nil || ms <= 0 || ms > 60_000 {
		t.Errorf("it is kept for %d ms, %v", ms, err)
	}
	drop(other)
	found(nil, nil)
	if err := s.do("HSET", other.sessionKey("app", "p")[0], "m", "x", "r", "9{}").Error(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := other.FindSession(ctx, "app", "p"); !errors.Is(err, errRecord) {
		t.Errorf("a record of another version: %v", err)
	}
}

func TestMachineThatTakesASessionSavesItWhateverTheOtherOneSavedMeanwhile(t *testing.T) {
	s := startRedis(t)
	one, other := s.gateway().store, s.gateway().store
	save := func(b *broker, version uint64) {
		t.Helper()
		if err := b.SaveSession(t.Context(), record("p", version), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	save(one, 5)
	r, from, err := other.FindSession(t.Context(), "app", "p")
	if err != nil || r == nil {
		t.Fatal(r, err)
	}
	save(one, 6) // it does not answer questions, but goes on
	save(one, 7)
	if taken, err := other.TakeSession(t.Context(), "app", "p", from); err != nil || !taken {
		t.Fatal(taken, err)
	}
	for version := r.Version + 1; version < r.Version+4; version++ {
		save(other, version)
		if r, _, err := other.FindSession(t.Context(), "app", "p"); err != nil || r == nil || r.Version != version {
			t.Fatalf("the record is %v, %v; want version %d", r, err, version)
		}
	}
}

// A wire is what a client was sent, in order: "+channel ID" once it is subscribed, with
// where the app stood, and payloads.
type wire struct {
	id  string
	mu  sync.Mutex // guards all
	all []string
}

func (w *wire) ID() string { return w.id }

func (w *wire) Queue(payload string) hub.Flusher {
	w.add(payload)
	return nil
}

func (w *wire) add(items ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, items...)
}

func (w *wire) get() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.all)
}

// A press publishes to a channel, and knows the offset of each message by its number,
// which is its data.
type press struct {
	mu      sync.Mutex // guards offsets
	offsets []uint64
}

func (p *press) run(ctx context.Context, t *testing.T, h *hub.Hub[string], channel string) {
	t.Helper()
	for n := 0; ctx.Err() == nil; n++ {
		m := *message("app", channel, "e")
		m.Data = []byte(strconv.Itoa(n))
		r, err := h.Publish(t.Context(), m)
		if err != nil {
			t.Error(err)
			return
		}
		p.mu.Lock()
		p.offsets = append(p.offsets, r.Offset)
		p.mu.Unlock()
		_ = sleep(ctx, rand.N(3*time.Millisecond))
	}
}

func (p *press) get() []uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.offsets)
}

// Machines are lost at any moment, also while a client subscribes: what the client has
// received, wherever its connection broke, and what it then gets on another machine, is
// everything, once and in order, of the channels that it knows it is in.
func TestSessionsAreContinuedWhereverTheirMachineWasLost(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	first, second := s.gateway(), s.gateway()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	presses := map[string]*press{"a": {}, "b": {}, "c": {}, "d": {}}
	var publishing sync.WaitGroup
	defer publishing.Wait()
	for channel, p := range presses {
		publishing.Go(func() { p.run(ctx, t, second.hub, channel) })
	}
	outcomes := make(map[hub.Recovery]int)
	for range 80 {
		outcomes[loseMachine(t, first, second, presses)]++
	}
	stop()
	t.Log(outcomes)
	if outcomes[hub.Recovered] < 20 {
		t.Errorf("few were recovered: %v", outcomes)
	}
	for outcome := range outcomes {
		if outcome != hub.Recovered && outcome != hub.NoSession && outcome != hub.NoPosition {
			t.Errorf("unexpected: %s", outcome)
		}
	}
}

// loseMachine has a client subscribe on a machine, breaks its connection at a random
// place, takes its session at a random moment, and checks what it gets.
func loseMachine(t *testing.T, machine, other gateway, presses map[string]*press) hub.Recovery {
	t.Helper()
	w := &wire{id: random.Text(20)}
	m := machine.hub.Join("app", w)
	pid := machine.hub.Begin(m, "", time.Minute, nil).PID()
	defer m.Close()
	var subscribing sync.WaitGroup
	subscribing.Go(func() {
		for channel := range presses { // in no particular order
			from := hub.From{}
			if rand.N(6) == 0 {
				from.Last = 1 + rand.N(5)
			}
			err := m.Subscribe(context.Background(), channel, 10, from, func(s hub.Standing[string]) {
				w.add(append([]string{"+" + channel + " " + s.Position.ID()}, s.Replayed...)...)
			})
			if err != nil && !errors.Is(err, hub.ErrTaken) && !errors.Is(err, hub.ErrClosed) {
				t.Error(err)
			}
			time.Sleep(rand.N(2 * time.Millisecond))
		}
	})
	defer subscribing.Wait()
	time.Sleep(rand.N(60 * time.Millisecond))
	received := w.get() // what arrived; what came after it was lost with the machine
	received = received[:len(received)-rand.N(len(received)/4+1)]
	r, from, err := other.store.FindSession(t.Context(), "app", pid)
	if err != nil {
		t.Fatal(err)
	}
	if r == nil {
		return hub.NoSession
	}
	if taken, err := other.store.TakeSession(t.Context(), "app", pid, from); err != nil {
		t.Fatal(err)
	} else if !taken {
		return hub.NoSession
	}
	position := ""
	for _, item := range received {
		if id, _, _ := strings.Cut(item, " "); id[0] != '+' {
			position = id
		}
	}
	if err := other.hub.Adopt(t.Context(), r, position, time.Minute); err != nil {
		t.Fatal(err)
	}
	back := &wire{id: w.id}
	member, outcome := other.hub.Recover(&hub.Return[string]{
		App: "app", PID: pid, Position: position, To: back,
		Answer: func(_ *hub.Session[string], missed []string) { back.add(missed...) },
	})
	if outcome != hub.Recovered {
		return outcome
	}
	defer member.Close()
	for channel, p := range presses {
		i := slices.IndexFunc(received, func(item string) bool { return strings.HasPrefix(item, "+"+channel+" ") })
		if i < 0 {
			continue // the client does not know that it is in the channel
		}
		_, id, _ := strings.Cut(received[i], " ")
		since, _ := hub.ParseID(id)
		want := len(p.get())
		var got []int
		until(t, "what was published before arrives", func() bool {
			got = got[:0]
			for _, item := range append(slices.Clone(received[i+1:]), back.get()...) {
				if words := strings.Split(item, " "); words[len(words)-2] == channel {
					n, _ := strconv.Atoi(words[len(words)-1])
					got = append(got, n)
				}
			}
			return len(got) > 0 && got[len(got)-1] >= want-1
		})
		for k, n := range got[1:] {
			if n != got[k]+1 {
				t.Fatalf("%s: %d follows %d; received %q, then %q", channel, n, got[k], received, back.get())
			}
		}
		offsets := p.get()
		if n := got[0]; n < len(offsets) && n > 0 && offsets[n] > since.Offset && offsets[n-1] > since.Offset {
			t.Fatalf("%s: %d is the first after %s; received %q, then %q", channel, n, id, received, back.get())
		}
	}
	return outcome
}
