package hub_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
)

// A returner is a client that comes back again and again. What it has not read
// when it drops is lost.
type returner struct {
	h       *testHub
	box     *inbox
	member  *hub.Member[string]
	pid     string
	last    string
	read    []string
	pending int // in box, that were read
}

func (r *returner) start(t *testing.T, channels ...string) {
	t.Helper()
	r.box = &inbox{id: "r"}
	r.member = r.h.Join("app", r.box)
	r.pid = r.h.Begin(r.member, "", time.Minute, nil).PID()
	for _, channel := range channels {
		subscribe(t, r.member, channel)
	}
}

// take reads what has arrived, or a part of it.
func (r *returner) take(part float64) {
	all := r.box.all()
	n := int(float64(len(all)-r.pending) * part)
	for _, payload := range all[r.pending : r.pending+n] {
		r.read = append(r.read, payload)
		r.last, _, _ = strings.Cut(payload, " ")
	}
	r.pending += n
}

// comeBack drops and comes back; the hub may not have noticed the drop.
func (r *returner) comeBack(t *testing.T, noticed bool) {
	t.Helper()
	if noticed {
		r.member.Leave(time.Minute)
	}
	r.box, r.pending = &inbox{id: "r"}, 0
	member, outcome := r.h.Recover(&hub.Return[string]{
		App: "app", PID: r.pid, Position: r.last, To: r.box,
		Answer: func(_ *hub.Session[string], missed []string) {
			for _, payload := range missed {
				r.box.Queue(payload)
			}
		},
	})
	if outcome != hub.Recovered {
		t.Errorf("it is told %s", outcome)
		return
	}
	r.member = member
}

// Clients come back while others publish to their channels. Each gets all
// messages of its channels once, and in order.
func TestReturnsMissNothingBesidePublishers(t *testing.T) {
	onEach(t, func(h *testHub) {
		t := h.t
		h.Configure(hub.Limits{Replay: 1 << 20})
		var returns, publishes sync.WaitGroup
		var stop atomic.Bool
		var mu sync.Mutex         // guards want and read
		read := sync.NewCond(&mu) // signals that somebody has read
		behind := make([]int, 8)  // the last offset that each has read; very large at its end
		published := 0
		want := make(map[string]int) // messages of each channel
		channels := []string{"a", "b", "c", "d"}
		returners := make([]*returner, 8)
		for i := range returners {
			r := &returner{h: h}
			r.start(t, channels[i%4], channels[(i+1)%4])
			returners[i] = r
			returns.Go(func() {
				random := rand.New(rand.NewPCG(uint64(i), 3))
				for range h.rounds(200) {
					r.take(random.Float64())
					mu.Lock()
					if p, ok := hub.ParseID(r.last); ok {
						behind[i] = int(p.Offset)
					}
					read.Broadcast()
					mu.Unlock()
					r.comeBack(t, random.IntN(2) == 0)
				}
				stop.Store(true)
				mu.Lock()
				behind[i] = math.MaxInt
				read.Broadcast()
				mu.Unlock()
			})
		}
		for range 4 {
			publishes.Go(func() {
				for n := 0; !stop.Load() && n < 2000; n++ {
					channel := channels[rand.IntN(4)]
					mu.Lock()
					published++
					for published-slices.Min(behind) > hub.MaxReplay/2 { // a busy machine must not make it too many
						read.Wait()
					}
					mu.Unlock()
					_, err := h.Publish(background, hub.Message{
						App: "app", Channel: channel, Event: identified, Data: json.RawMessage(fmt.Sprint(n)), Keep: hub.Keep{Messages: 10_000, Age: time.Minute},
					})
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					want[channel]++
					mu.Unlock()
				}
			})
		}
		returns.Wait()
		publishes.Wait()
		h.settle()
		for i, r := range returners {
			r.take(1)
			got := make(map[string]int)
			var before uint64
			for _, payload := range r.read {
				id, channel, _ := strings.Cut(payload, " ")
				p, ok := hub.ParseID(id)
				if !ok || p.Offset <= before {
					t.Fatalf("client %d: %s after offset %d", i, payload, before)
				}
				before = p.Offset
				got[channel]++
			}
			for _, channel := range []string{channels[i%4], channels[(i+1)%4]} {
				if got[channel] != want[channel] {
					t.Errorf("client %d: %d of %d messages of %s", i, got[channel], want[channel], channel)
				}
			}
			r.member.Close()
		}
		h.expectEmpty(t)
	})
}

// A hub does not claim to know what its broker delivered before anybody was
// interested, and a client that came before the first message can come back.
func TestWhatCameBeforeTheInterestIsNotClaimed(t *testing.T) {
	net := new(network)
	other, h := newHubOn(t, net.join(), net.settle), newHubOn(t, net.join(), net.settle)
	early := &returner{h: h}
	early.start(t, "a")
	keep := func(channel string) string {
		r, err := other.Publish(background, hub.Message{App: "app", Channel: channel, Event: identified, Keep: hub.Keep{Messages: 10, Age: time.Minute}})
		if err != nil {
			t.Fatal(err)
		}
		net.settle()
		return r.ID
	}
	first := keep("a")
	keep("b") // nobody here is interested
	keep("a")
	early.comeBack(t, true)
	early.take(1)
	if len(early.read) != 2 {
		t.Errorf("the early client got %v", early.read)
	}
	for channel, missing := range map[string]hub.Missing{"b": hub.MissingExpired, "c": hub.MissingExpired} {
		p, _ := hub.ParseID(first)
		var got hub.Standing[string]
		err := early.member.Subscribe(background, channel, 10, hub.From{Since: &p}, func(s hub.Standing[string]) { got = s })
		if err != nil || got.Missing != missing || len(got.Replayed) != 0 {
			t.Errorf("%s since %s: %+v, %v", channel, first, got, err)
		}
	}
	early.member.Close()
}

// A client that lost a channel after its connection broke, unnoticed by the hub, would
// otherwise take itself for a subscriber.
func TestClientThatMayNotKnowThatItLostAChannelDoesNotRecover(t *testing.T) {
	onEach(t, func(h *testHub) {
		publish := func() {
			m := hub.Message{App: "app", Channel: "b", Event: identified, Keep: hub.Keep{Messages: 10, Age: time.Minute}}
			if _, err := h.Publish(background, m); err != nil {
				h.t.Fatal(err)
			}
			h.settle()
		}
		for read, want := range map[float64]hub.Recovery{0: hub.Forbidden, 1: hub.Recovered} {
			r := &returner{h: h}
			r.start(h.t, "a", "b")
			publish()
			r.take(1)
			told := false
			if !r.member.Expel("a", func() { told = true }) || !told || r.member.In("a") || r.member.Expel("a", nil) {
				h.t.Fatal("it is not expelled once")
			}
			publish()
			r.take(read)
			back := &hub.Return[string]{App: "app", PID: r.pid, Position: r.last, To: &inbox{id: "r"}, Answer: func(*hub.Session[string], []string) {}}
			if _, outcome := h.Recover(back); outcome != want {
				h.t.Errorf("it has read %v of what came since, and is told %s", read, outcome)
			}
		}
	})
}

// A private ID may get into other hands.
func TestWhoShowsAnothersPIDTakesNothingFromIt(t *testing.T) {
	onEach(t, func(h *testHub) {
		r := &returner{h: h, box: &inbox{id: "r"}}
		r.member = h.Join("app", r.box)
		r.pid = h.Begin(r.member, "", time.Minute, hub.FormerOwner("ann")).PID()
		subscribe(h.t, r.member, "a")
		comeBack := func(user string, to *inbox) (*hub.Member[string], *hub.Return[string], hub.Recovery) {
			back := &hub.Return[string]{
				App: "app", PID: r.pid, Position: r.last, To: to, Owner: hub.FormerOwner(user),
				Owns: func(owner hub.Owner) bool { return owner.User() == user },
				Answer: func(_ *hub.Session[string], missed []string) {
					for _, payload := range missed {
						to.Queue(payload)
					}
				},
			}
			m, outcome := h.Recover(back)
			return m, back, outcome
		}
		publish := func() {
			m := hub.Message{App: "app", Channel: "a", Event: identified, Keep: hub.Keep{Messages: 10, Age: time.Minute}}
			if _, err := h.Publish(background, m); err != nil {
				h.t.Fatal(err)
			}
			h.settle()
		}
		publish()
		r.take(1)
		for _, away := range []bool{false, true} {
			if away {
				r.member.Leave(time.Minute)
			}
			bob := &inbox{id: "bob"}
			m, back, outcome := comeBack("bob", bob)
			if outcome != hub.Forbidden || m != nil || back.Replaced != nil || len(bob.all()) != 0 {
				h.t.Errorf("away %v: bob is told %s, gets %v, replaces %v", away, outcome, bob.all(), back.Replaced)
			}
			publish()
			if !away {
				r.take(1)
			}
		}
		to := &inbox{id: "r"}
		if _, back, outcome := comeBack("ann", to); outcome != hub.Recovered || back.Replaced != nil || len(to.all()) != 1 || len(r.read) != 2 {
			h.t.Errorf("ann is told %s, got %v, now %v", outcome, r.read, to.all())
		}
	})
}
