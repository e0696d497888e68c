package redis

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/idempotent"
)

// keptByChannel says what the histories have: of each channel, the offsets of the messages that
// are kept, and the offset after which all are.
type keptByChannel map[string]*keptChannel

type keptChannel struct {
	offsets []uint64
	floor   uint64
}

func (k keptByChannel) add(m *hub.Message) {
	c := k[m.Channel]
	if m.NoHistory {
		return
	}
	c.offsets = append(c.offsets, m.Offset)
	if over := len(c.offsets) - m.Keep.Messages; over > 0 {
		c.floor, c.offsets = c.offsets[over-1], c.offsets[over:]
	}
}

// Random publishes get the same answers from Redis as from the broker in memory, and
// leave the same histories: for who has been reading, and for who comes now.
func TestRandomPublishesAreAnsweredAndKeptAsInMemory(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	for seed := range uint64(8) {
		rnd := rand.New(rand.NewPCG(seed, 20))
		inMemory, err := hub.New(hub.NewMemory(), textCodec)
		if err != nil {
			t.Fatal(err)
		}
		machines := []*hub.Hub[string]{s.hub(), s.hub()}
		app := fmt.Sprint("random", seed)
		channels := []string{"a", "b", "c"}
		known := keptByChannel{"a": {}, "b": {}, "c": {}}
		rules := make(map[string]hub.Keep) // of each channel
		limit := 40 + rnd.IntN(200)
		for step := range 300 {
			if step%40 == 0 {
				for _, channel := range channels {
					rules[channel] = hub.Keep{Messages: []int{0, 1, 1, 2, 3, 10, 150}[rnd.IntN(7)], Age: time.Duration(1+rnd.IntN(3)) * time.Hour}
				}
			}
			all := make([]hub.Message, []int{1, 1, 1, 1, 2, 5, 20}[rnd.IntN(7)])
			for i := range all {
				all[i] = hub.Message{App: app, Channel: channels[rnd.IntN(len(channels))], Event: "e", NoHistory: rnd.IntN(8) == 0}
				all[i].Keep = rules[all[i].Channel]
				if rnd.IntN(10) > 0 {
					all[i].Data = fmt.Appendf(nil, "%q", strings.Repeat("x", rnd.IntN(3)*rnd.IntN(300))+fmt.Sprint(step, i))
				}
			}
			var terms hub.Terms
			switch rnd.IntN(4) {
			case 0:
				terms = hub.Terms{Limit: limit, Window: 10 * time.Hour}
			case 1:
				terms = hub.Terms{Limit: 1_000_000, Window: 10 * time.Hour}
			}
			if rnd.IntN(3) == 0 {
				terms.Key = hub.IdempotencyKey{Value: fmt.Sprint(len(all), rnd.IntN(40)), Body: idempotent.DigestOf([]byte{byte(rnd.IntN(6) / 5)})}
			}
			want, wantOutcome, wantErr := inMemory.AdmitAll(t.Context(), all, terms)
			got, outcome, err := machines[rnd.IntN(2)].AdmitAll(t.Context(), slices.Clone(all), terms)
			for _, o := range []*hub.Outcome{&outcome, &wantOutcome} {
				o.Rate.Reset, o.Rate.RetryAfter = 0, 0
			}
			if outcome != wantOutcome || !errors.Is(err, wantErr) || len(got) != len(want) {
				t.Fatalf("seed %d, step %d: %v, %+v, %v; want %v, %+v, %v", seed, step, got, outcome, err, want, wantOutcome, wantErr)
			}
			for i := range want {
				if got[i].Offset != want[i].Offset {
					t.Fatalf("seed %d, step %d: %v; want %v", seed, step, got, want)
				}
				if all[i].Position = (hub.Position{Offset: want[i].Offset}); !outcome.Replayed {
					known.add(&all[i])
				}
			}
			if step%50 == 25 || step == 299 {
				for i, h := range append(machines, s.hub()) {
					for _, channel := range channels {
						known.check(t, fmt.Sprintf("seed %d, step %d, machine %d", seed, step, i), rnd, app, channel, inMemory, h)
					}
				}
			}
		}
		if err := inMemory.Close(); err != nil {
			t.Error(err)
		}
	}
}

// check compares a channel's history on a machine with that in memory.
func (k keptByChannel) check(t *testing.T, where string, rnd *rand.Rand, app, channel string, inMemory, h *hub.Hub[string]) {
	t.Helper()
	read := func(h *hub.Hub[string], since *hub.Position, limit int, newest bool) (hub.Past, string) {
		past, err := h.Past(t.Context(), app, channel, since, limit, newest)
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		for _, m := range past.Messages {
			fmt.Fprintln(&text, m.Offset, string(m.Text))
		}
		return past, text.String()
	}
	whole, text := read(inMemory, nil, 1000, false)
	var offsets []uint64
	for _, m := range whole.Messages {
		offsets = append(offsets, m.Offset)
	}
	if c := k[channel]; !slices.Equal(offsets, c.offsets) {
		t.Fatalf("%s: memory has %v of %s; want %v", where, offsets, channel, c.offsets)
	}
	now, got := read(h, nil, 1000, false)
	if got != text || now.Position.Offset != whole.Position.Offset {
		t.Fatalf("%s: at %v, %s has\n%swant at %v\n%s", where, now.Position, channel, got, whole.Position, text)
	}
	for range 10 {
		since, limit, newest := rnd.Uint64N(now.Position.Offset+1), 1+rnd.IntN(20), rnd.IntN(2) == 0
		if rnd.IntN(2) == 0 {
			since = min(now.Position.Offset, k[channel].floor+uint64(rnd.IntN(3)))
		}
		want, text := read(inMemory, &hub.Position{Epoch: whole.Position.Epoch, Offset: since}, limit, newest)
		past, got := read(h, &hub.Position{Epoch: now.Position.Epoch, Offset: since}, limit, newest)
		if want.Missing = ""; since < k[channel].floor {
			want.Missing = hub.MissingExpired // in memory, a channel that keeps nothing has no floor of its own
		}
		if got != text || past.More != want.More || past.Missing != want.Missing {
			t.Fatalf("%s: since %d, %s has\n%s%v, %q; want\n%s%v, %q", where, since, channel, got, past.More, past.Missing, text, want.More, want.Missing)
		}
	}
}
