package webhook

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// randomFacts are of few channels and users, so that much is taken back.
func randomFacts(random *rand.Rand, n int) []Fact {
	types := []string{ChannelOccupied, ChannelVacated, ChannelOccupied, ChannelVacated, MemberJoined, MemberLeft, ClientEvent, Rejected}
	facts := make([]Fact, 0, n)
	id := FactID{Milli: 1_000_000}
	for range n {
		if random.IntN(3) == 0 {
			id.Seq++
		} else {
			id = FactID{Milli: id.Milli + random.Uint64N(1500)}
		}
		e := Event{Type: types[random.IntN(len(types))], Time: id.Time()}
		if e.Type != Rejected {
			e.Channel = fmt.Sprint("room.", random.IntN(3))
		}
		if e.Type == MemberJoined || e.Type == MemberLeft {
			e.User = fmt.Sprint(random.IntN(3))
		}
		facts = append(facts, Fact{ID: id, Event: e})
	}
	return facts
}

// replayed makes the events of facts, as senders that take over from each other after
// batches of up to most events, and begin after any fact.
func replayed(facts []Fact, most func() int, hook wish) (events []string) {
	r := &replay{wish: hook, wait: 3 * time.Second}
	end := facts[len(facts)-1].ID.Time().Add(time.Hour)
	for {
		room := most()
		full := false
		emit := func(e *Event) bool {
			if room == 0 {
				full = true
				return false
			}
			room--
			events = append(events, fmt.Sprint(e.Type, " ", e.Channel, " ", e.User, " ", e.Time.UnixMilli()))
			return true
		}
		for _, f := range facts {
			if f.ID.Compare(r.read) > 0 && !r.add(f, emit) {
				break
			}
		}
		if !full && r.pass(end, emit) {
			return events
		}
		from, count := r.start()
		r = &replay{wish: hook, wait: r.wait, read: from, count: count, sent: r.read}
	}
}

func TestTakeoversNeitherLoseNorDoubleNorReorder(t *testing.T) {
	all := wish{types: byDefault}
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 0))
		facts := randomFacts(random, 200)
		want := replayed(facts, func() int { return len(facts) }, all)
		got := replayed(facts, func() int { return 1 + random.IntN(5) }, all)
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: %d events, want %d\n%v\n%v", seed, len(got), len(want), got, want)
		}
		// A hook that wants less gets the same without the rest.
		some := replayed(facts, func() int { return 1 + random.IntN(5) }, wish{types: vacated | left, prefix: "room.1"})
		want = slices.DeleteFunc(want, func(text string) bool {
			var typ, channel string
			_, _ = fmt.Sscan(text, &typ, &channel)
			return channel != "room.1" || typ != ChannelVacated && typ != MemberLeft
		})
		if !slices.Equal(some, want) {
			t.Fatalf("seed %d, some: %v, want %v", seed, some, want)
		}
	}
}

func TestReplayWaitsByTheTimesOfTheFacts(t *testing.T) {
	at := func(ms uint64, typ, channel string) Fact {
		id := FactID{Milli: ms}
		return Fact{ID: id, Event: Event{Type: typ, Channel: channel, Time: id.Time()}}
	}
	got := replayed([]Fact{
		at(1000, ChannelOccupied, "a"),
		at(2000, ChannelVacated, "a"), at(4999, ChannelOccupied, "a"), // taken back
		at(6000, ChannelVacated, "a"), at(6500, ClientEvent, "b"), at(9000, ChannelOccupied, "a"), // too late
	}, func() int { return 100 }, wish{types: byDefault})
	want := []string{
		"channel.occupied a  1000", "client_event b  6500", "channel.vacated a  6000", "channel.occupied a  9000",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func FuzzFactID(f *testing.F) {
	f.Add("1-2")
	f.Add("18446744073709551615-18446744073709551615")
	f.Add("-")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := ParseFactID(text)
		if err != nil {
			return
		}
		if again, err := ParseFactID(id.String()); err != nil || again != id {
			t.Errorf("%v, %v", again, err)
		}
		if before := id.before(); id != (FactID{}) && before.Compare(id) >= 0 {
			t.Errorf("%v is not before %v", before, id)
		}
	})
}
