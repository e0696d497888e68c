package hub

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A world is a hub beside a simple model of it: what the history keeps, and what
// each client is owed.
type world struct {
	t       testing.TB
	hub     *Hub[string]
	choose  func(n int) int
	last    uint64
	kept    []*keptMessage    // in order
	evicted map[string]uint64 // the highest offset that history does not have, by channel
	clients []*modelClient
	limit   int64
	crowded bool // sessions that are away may give way to others
	outcome map[Recovery]int
	log     []string
}

// A keptMessage is a message as the model knows it.
type keptMessage struct {
	payload string
	channel string
	except  string
	offset  uint64
	until   time.Time
	at      time.Time
}

// An item is one event that a client is owed, in order.
type item struct {
	payload   string
	channel   string
	offset    uint64
	ephemeral bool // not owed if it was missed
}

const (
	modelWindow = time.Minute
	modelAge    = 90 * time.Second
	modelReplay = 900
)

var modelChannels = []string{"a", "b", "c", "d.long", "e"}

func newWorld(t testing.TB, choose func(n int) int) *world {
	t.Helper()
	w := &world{t: t, choose: choose, limit: 13_000, crowded: choose(2) == 0, outcome: make(map[Recovery]int), evicted: make(map[string]uint64)}
	if choose(3) == 0 {
		w.limit = 5_000
	}
	w.open()
	t.Cleanup(func() { _ = w.hub.Close() })
	for range 6 {
		w.clients = append(w.clients, &modelClient{world: w})
	}
	return w
}

// open starts a hub.
func (w *world) open() {
	h, err := New(NewMemory(), Codec[string]{
		Encode:  func(m *Message) string { return m.ID() + strings.Repeat(" ", len(m.Data)) },
		Text:    func(s string) []byte { return []byte(s[len(s)-textSize(s):]) },
		Payload: func(text []byte, id string) (string, error) { return id + string(text), nil },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	limits := Limits{History: w.limit, Replay: modelReplay}
	if w.crowded {
		limits.Away = 3
	}
	h.Configure(limits)
	w.hub = h
}

// restart replaces the hub by one that continues with its snapshot.
func (w *world) restart() {
	w.note("restart")
	for _, c := range w.clients {
		if c.member != nil {
			c.member.Leave(modelWindow)
			c.member, c.online, c.wire, c.gone = nil, false, nil, time.Now()
		}
	}
	if err := w.hub.Close(); err != nil {
		w.fatal("close: %v", err)
	}
	snapshot := w.hub.Snapshot()
	if err := snapshot.Check(); err != nil {
		w.fatal("the snapshot is refused: %v", err)
	}
	down := time.Duration(w.choose(20)) * time.Second
	w.sleep(down)
	w.open()
	w.hub.Restore(snapshot, down, func(app string) bool { return app == "app" })
	w.expire()
	w.bound()
}

func (w *world) note(format string, a ...any) {
	w.log = append(w.log, fmt.Sprintf(format, a...))
	if len(w.log) > 80 {
		w.log = w.log[1:]
	}
}

func (w *world) fatal(format string, a ...any) {
	w.t.Helper()
	w.t.Fatalf("%s\nlast steps:\n%s", fmt.Sprintf(format, a...), strings.Join(w.log, "\n"))
}

// step does one random thing to the hub and to the model.
func (w *world) step() {
	c := w.clients[w.choose(len(w.clients))]
	channel := modelChannels[w.choose(len(modelChannels))]
	switch n := w.choose(100); {
	case n < 35:
		w.publish(channel)
	case n < 60:
		c.read(1 + w.choose(8))
	case n < 70:
		if c.online {
			c.subscribe(channel)
		}
	case n < 73:
		if c.online {
			c.unsubscribe(channel)
		}
	case n < 80:
		c.drop()
	case n < 95:
		if !c.online {
			c.connect()
		}
	case n < 96:
		c.end()
	case n < 97:
		if w.choose(4) == 0 {
			w.restart()
		}
	case n < 99:
		w.sleep(time.Duration(w.choose(2000)) * time.Millisecond)
	default:
		w.sleep(time.Duration(w.choose(100)) * time.Second)
	}
}

func (w *world) sleep(d time.Duration) {
	w.note("sleep %s", d)
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) publish(channel string) {
	m := Message{App: "app", Channel: channel, Event: "e", Data: make([]byte, w.choose(60)), Keep: Keep{Messages: 8, Age: modelAge}}
	if w.choose(8) == 0 {
		m.Except = w.clients[w.choose(len(w.clients))].id
	}
	m.NoHistory = w.choose(10) == 0
	if w.choose(12) == 0 {
		m.Data = make([]byte, 900)
	}
	r, err := w.hub.Publish(w.t.Context(), m)
	if err != nil {
		w.fatal("publish: %v", err)
	}
	w.last++
	if r.Offset != w.last {
		w.fatal("offset %d after %d messages", r.Offset, w.last)
	}
	payload := r.ID + strings.Repeat(" ", len(m.Data))
	w.note("publish %d to %s except %q ephemeral %t", r.Offset, channel, m.Except, m.NoHistory)
	for _, c := range w.clients {
		i := item{payload, channel, r.Offset, m.NoHistory}
		if _, ok := c.joined[channel]; !ok {
			continue
		}
		if m.Except != "" && c.id == m.Except {
			c.spared = append(c.spared, i)
		} else {
			c.stream = append(c.stream, i)
		}
	}
	if m.NoHistory {
		return
	}
	w.expire()
	k := &keptMessage{payload: payload, channel: channel, except: m.Except, offset: r.Offset, at: time.Now(), until: time.Now().Add(modelAge)}
	if of := w.of(channel); len(of) == 8 {
		w.evict(func(k *keptMessage) bool { return k == of[0] })
	}
	w.kept = append(w.kept, k)
	w.bound()
}

// bound forgets the oldest messages while all take too much memory.
func (w *world) bound() {
	for w.size() > w.limit {
		oldest := w.kept[0]
		w.evict(func(k *keptMessage) bool { return k == oldest })
	}
}

// size returns what the kept messages and their channels take in memory.
func (w *world) size() (size int64) {
	for _, channel := range modelChannels {
		of, texts := w.of(channel), 0
		for _, k := range of {
			texts += textSize(k.payload) + len(k.except) + 1
		}
		size += sizeOf(channel, len(of), texts)
	}
	return size
}

// textSize returns the size of what the history keeps of a payload: all but the ID.
func textSize(payload string) int {
	id, _, _ := strings.Cut(payload, " ")
	return len(payload) - len(id)
}

// evict forgets messages.
func (w *world) evict(which func(k *keptMessage) bool) {
	w.kept = slices.DeleteFunc(w.kept, func(k *keptMessage) bool {
		if !which(k) {
			return false
		}
		w.evicted[k.channel] = max(w.evicted[k.channel], k.offset)
		return true
	})
}

// expire forgets what is too old.
func (w *world) expire() {
	now := time.Now()
	w.evict(func(k *keptMessage) bool { return !now.Before(k.until) })
}

// of returns the history of a channel.
func (w *world) of(channel string) (of []*keptMessage) {
	for _, k := range w.kept {
		if k.channel == channel {
			of = append(of, k)
		}
	}
	return of
}

func (w *world) keeps(i item) bool {
	return slices.ContainsFunc(w.kept, func(k *keptMessage) bool { return k.offset == i.offset })
}

// lost returns the highest offset that no history has any longer.
func (w *world) lost() (most uint64) {
	for _, offset := range w.evicted {
		most = max(most, offset)
	}
	return most
}

// position returns where the only app stands.
func (h *Hub[P]) position() (Position, bool) {
	s := h.stream("app")
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.position(), true
}

// TestClientsAreOwedWhatTheModelSays runs random steps. STRESS=1 makes them a
// million.
func TestClientsAreOwedWhatTheModelSays(t *testing.T) {
	steps, seeds := 5_000, 12
	if os.Getenv("STRESS") != "" {
		steps, seeds = 10_000, 100
	}
	outcomes := make(map[Recovery]int)
	for seed := range uint64(seeds) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 7))
			w := newWorld(t, random.IntN)
			for range steps {
				w.step()
			}
			w.finish()
			for o, n := range w.outcome {
				outcomes[o] += n
			}
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Log(outcomes)
	for _, o := range []Recovery{Recovered, NoSession, NoPosition, Expired, TooMany} {
		if outcomes[o] == 0 {
			t.Errorf("no client was told %s", o)
		}
	}
}

// finish checks that nothing is left once all clients have gone and time has
// passed.
func (w *world) finish() {
	for _, c := range w.clients {
		if c.online {
			c.read(len(c.wire))
			if c.got != len(c.stream) {
				w.fatal("%s got %d of %d", c.id, c.got, len(c.stream))
			}
		}
		if c.member != nil {
			c.member.Leave(modelWindow)
		}
	}
	w.sleep(3 * modelAge)
	h := w.hub
	if n := h.AllAway(); n != 0 || h.sessions.byPID.Len() != 0 {
		w.fatal("%d sessions are left, %d away", h.sessions.byPID.Len(), n)
	}
	left := 0
	for i := range h.shards {
		left += h.shards[i].channels.Len()
	}
	if kept := h.History(); left != 0 || kept.Messages != 0 || kept.Bytes != 0 || h.Channels() != 0 || h.Subscriptions() != 0 {
		w.fatal("%d records and %+v are left", left, kept)
	}
}
