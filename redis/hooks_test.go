package redis

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/webhook"
	"go.uber.org/zap/zaptest"
)

func TestOneMachineSendsWhatHappensOnAll(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	r := newReceiver(t)
	all, _ := tellers(t, s.url(), hookTo(r.URL))
	for i := range 10 {
		for _, m := range all {
			m.say(i*50, 50)
		}
	}
	r.complete(500, all...)
	r.gapless()
	if r.repeated != 0 {
		t.Errorf("%d batches came twice", r.repeated)
	}
}

func TestKilledSenderIsFollowedByAnotherThatLosesNothing(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	r := newReceiver(t)
	r.down.Store(true)
	all, sender := tellers(t, s.url(), hookTo(r.URL))
	for _, m := range all {
		m.say(0, 150)
	}
	until(t, "the receiver was tried", func() bool { return r.attempts() > 2 })
	left := others(all, sender)
	until(t, "all is in Redis", func() bool {
		n, err := s.do("XLEN", factsKey(baseName("rt", "shop"))).AsInt64()
		return err == nil && n == 450
	})
	sender.die()
	for _, m := range left {
		m.say(150, 50)
	}
	senderOf(t, left...)
	seen := r.attempts()
	until(t, "the next one tries", func() bool { return r.attempts() > seen })
	r.down.Store(false)
	until(t, "all events", func() bool { return len(r.got()) >= 550 })
	r.gapless()
	count := make(map[string]int)
	for _, e := range r.got() {
		machine, _, _ := strings.Cut(e.Event, " ")
		count[machine]++
	}
	if count[sender.id] != 150 || count[left[0].id] != 200 || count[left[1].id] != 200 {
		t.Error(count)
	}
	// It did not end properly, so something can be missing.
	until(t, "a reset for the killed machine", func() bool {
		got := r.got()
		return len(got) == 551 && got[550].Type == webhook.StateReset && got[550].Seq == 551
	})
}

func TestSenderThatWasSuspendedChangesNothing(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	r := newReceiver(t)
	hook := hookTo(r.URL)
	a := newNode(t, s.url(), "", "a", shortLease)
	slow := &pausing{Shared: a.broker}
	suspended, err := webhook.Open(webhook.Options{
		Logger: zaptest.NewLogger(t, zaptest.Level(zapLevel)), AllowPrivate: true, Shared: slow, Machine: a.id,
		Machines: func() []string { return []string{"a0000000", "b0000000"} }, Lease: hookLease, Timing: hookTiming,
	})
	if err != nil {
		t.Fatal(err)
	}
	first := &teller{node: a, Manager: suspended}
	t.Cleanup(first.quit)
	first.use(hook)
	until(t, "the first one sends", first.sends)
	other := newTeller(t, s.url(), "b", hook)
	first.say(0, 100)
	until(t, "it does", func() bool { return len(r.got()) == 100 })

	resume := make(chan struct{})
	slow.arm.Store(&resume)
	other.say(0, 300)
	until(t, "the first one is suspended while it saves a batch", func() bool { return slow.hold.Load() != nil })
	until(t, "the other one takes over", other.sends)
	until(t, "it sends", func() bool { return len(r.got()) == 400 })
	position := func() string {
		record, err := s.do("HGET", senderKey(baseName("rt", "shop")), "r:hook_1").ToString()
		if err != nil {
			t.Fatal(err)
		}
		return record
	}
	until(t, "its position is saved", func() bool {
		return strings.Contains(position(), `"next":401`) && !strings.Contains(position(), `"batch"`)
	})
	before := position()
	slow.hold.Store(nil)
	close(resume)
	until(t, "the first one knows", func() bool { return first.Sender("shop") == other.id })
	first.quit() // after all that it had begun
	if now := position(); now != before {
		t.Errorf("the position became %s, was %s", now, before)
	}
	other.say(300, 100)
	until(t, "the rest", func() bool { return len(r.got()) == 500 })
	r.gapless()
}

func TestSenderThatEndsIsFollowedAtOnce(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	r := newReceiver(t)
	all, sender := tellers(t, s.url(), hookTo(r.URL))
	for _, m := range all {
		m.say(0, 200)
	}
	sender.quit()
	left := others(all, sender)
	for _, m := range left {
		m.say(200, 100)
	}
	until(t, "all events", func() bool { return len(r.got()) == 800 })
	senderOf(t, left...)
	r.gapless()
	time.Sleep(2 * hookLease) // a reset for a machine that ended properly would come now
	if got := r.got(); len(got) != 800 {
		t.Errorf("%+v after all", got[800:])
	}
}

func TestWhatIsTakenBackOnAnotherMachineIsNotSent(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	r := newReceiver(t)
	all, sender := tellers(t, s.url(), hookTo(r.URL, webhook.ChannelVacated, webhook.ChannelOccupied, webhook.ClientEvent))
	inRedis := 0
	tell := func(m *teller, typ, channel string) {
		m.Emit(webhook.Event{Type: typ, App: "shop", Channel: channel})
		inRedis++
		until(t, "it is in Redis", func() bool { return s.added(t) == inRedis })
	}
	tell(all[0], webhook.ChannelOccupied, "a")
	tell(all[0], webhook.ChannelOccupied, "b")
	tell(all[0], webhook.ChannelVacated, "a")
	tell(all[1], webhook.ChannelOccupied, "a") // within a second, on another machine
	tell(all[0], webhook.ChannelVacated, "b")
	all[0].say(0, 3)
	until(t, "what does not wait is there", func() bool { return len(r.got()) >= 5 })
	// The sender is lost while b waits: the next one neither loses nor doubles it, nor
	// what was sent meanwhile.
	sender.die()
	senderOf(t, others(all, sender)...)
	until(t, "b is vacated", func() bool {
		return slices.ContainsFunc(r.got(), func(e gotEvent) bool { return e.Type == webhook.ChannelVacated })
	})
	all[1].say(0, 1)
	until(t, "what is new", func() bool { return len(r.got()) >= 7 })
	count := make(map[string]int)
	for _, e := range r.got() {
		count[e.Type+" "+e.Channel]++
	}
	if want := map[string]int{"channel.occupied a": 1, "channel.occupied b": 1, "channel.vacated b": 1, "client_event a": 4}; fmt.Sprint(count) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", count, want)
	}
	r.gapless()
}

func TestWhatHappensWhileRedisIsAwayIsSentAfterwards(t *testing.T) {
	t.Parallel()
	s := startRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	r := newReceiver(t)
	all, _ := tellers(t, s.url(), hookTo(r.URL))
	for _, m := range all {
		m.say(0, 100)
	}
	until(t, "some arrive", func() bool { return len(r.got()) > 0 })
	s.kill()
	began := time.Now()
	for _, m := range all {
		m.say(100, 100)
	}
	if took := time.Since(began); took > loadSlack {
		t.Errorf("telling took %v without Redis", took)
	}
	s.start()
	r.complete(200, all...)
	r.gapless()
}

func TestWhatHappensWhileAnAnswerOfRedisIsLostIsSent(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	r := newReceiver(t)
	n := newNode(t, s.url(), "", "a", shortLease)
	u := &unanswered{Shared: n.broker, made: make(chan struct{}), held: make(chan struct{})}
	m := n.tell(t, u, hookTo(r.URL))
	m.say(0, 1)
	<-u.made
	m.say(1, 50) // the call is repeated, these are not in it
	close(u.held)
	r.complete(51, m)
	r.gapless()
}

func TestRedisThatLostItsDataMakesAReset(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	r := newReceiver(t)
	hook := hookTo(r.URL)
	hook.Created = time.Now().Add(-time.Hour)
	all, _ := tellers(t, s.url(), hook)
	until(t, "the first reset: nobody knows what was before", func() bool {
		return len(r.got()) == 1 && r.got()[0].Type == webhook.StateReset
	})
	for _, m := range all {
		m.say(0, 50)
	}
	until(t, "all events", func() bool { return len(r.got()) == 151 })
	last := r.got()[150].Seq
	s.kill()
	s.start()
	until(t, "another reset", func() bool { return len(r.got()) > 151 })
	if e := r.got()[151]; e.Type != webhook.StateReset || e.Seq <= last {
		t.Errorf("%+v after %d", e, last)
	}
	for _, m := range all {
		m.say(50, 50)
	}
	until(t, "all events after it", func() bool { return len(r.got()) == 302 })
	for i, e := range r.got()[152:] {
		if e.Seq != r.got()[151].Seq+uint64(i)+1 || e.Type != webhook.ClientEvent {
			t.Fatalf("%+v", e)
		}
	}
}

func TestTrimmedFactsAreSaidAsDropped(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	r := newReceiver(t)
	r.down.Store(true)
	all, _ := tellers(t, s.url(), hookTo(r.URL))
	const events = 15_000
	for i := 0; i < events; i += 1000 { // less than a machine keeps in memory
		all[0].say(i, 1000)
		until(t, "they are in Redis", func() bool { return s.added(t) == i+1000 })
	}
	r.down.Store(false)
	until(t, "the last event", func() bool {
		got := r.got()
		return len(got) > 0 && got[len(got)-1].Event == fmt.Sprint(all[0].id, " ", events-1)
	})
	var next, dropped uint64 = 1, 0
	for _, e := range r.got() {
		if e.Type == webhook.Dropped {
			dropped += e.Count
			next += e.Count - 1
		}
		if e.Seq != next {
			t.Fatalf("%+v, want the number %d", e, next)
		}
		if e.Type == webhook.ClientEvent && e.Event != fmt.Sprint(all[0].id, " ", e.Seq-1) {
			t.Fatalf("%+v", e)
		}
		next++
	}
	if dropped == 0 || dropped > events-9_000 {
		t.Errorf("%d were dropped", dropped)
	}
}

func TestDisabledHookGetsWhatWasLeftAndThenAReset(t *testing.T) {
	s := startRedis(t)
	r := newReceiver(t)
	hook := hookTo(r.URL)
	other := newReceiver(t)
	second := hookTo(other.URL)
	second.ID = "hook_2"
	all, _ := tellers(t, s.url(), hook, second)
	r.down.Store(true)
	all[0].say(0, 150)
	until(t, "the other hook has them", func() bool { return len(other.got()) == 150 })
	off := hook
	off.Enabled = false
	for _, m := range all {
		m.use(off, second)
	}
	until(t, "Redis knows", func() bool {
		text, err := s.do("HGET", senderKey(baseName("rt", "shop")), "r:hook_1").ToString()
		return err == nil && strings.Contains(text, `"off"`)
	})
	all[0].say(150, 50)
	until(t, "the other hook has those, too", func() bool { return len(other.got()) == 200 })
	r.down.Store(false)
	for _, m := range all {
		m.use(hook, second)
	}
	until(t, "what was left, and a reset", func() bool { return len(r.got()) == 151 && r.got()[150].Type == webhook.StateReset })
	all[1].say(0, 10)
	until(t, "what is new", func() bool { return len(r.got()) == 161 })
	r.gapless()
	other.gapless()
}

func TestTestEventIsSentToItsHookFromAnyMachine(t *testing.T) {
	s := startRedis(t)
	r, other := newReceiver(t), newReceiver(t)
	second := hookTo(other.URL)
	second.ID = "hook_2"
	all, _ := tellers(t, s.url(), hookTo(r.URL), second)
	for _, m := range all {
		if err := m.Test("shop", "hook_1"); err != nil {
			t.Fatal(err)
		}
	}
	all[0].say(0, 1)
	until(t, "three tests", func() bool { return len(r.got()) == 4 })
	until(t, "the event", func() bool { return len(other.got()) == 1 })
	r.gapless()
	if e := other.got()[0]; e.Type != webhook.ClientEvent {
		t.Errorf("%+v", e)
	}
}

func TestMoreThanAMachineKeepsWithoutRedisMakesAReset(t *testing.T) {
	t.Parallel()
	s := startRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	r := newReceiver(t)
	all, _ := tellers(t, s.url(), hookTo(r.URL))
	all[0].say(0, 10)
	until(t, "they arrive", func() bool { return len(r.got()) == 10 })
	s.kill()
	const kept, told = 10_000, 12_000
	all[0].say(10, told)
	s.start()
	until(t, "a reset", func() bool {
		return slices.ContainsFunc(r.got(), func(e gotEvent) bool { return e.Type == webhook.StateReset })
	})
	got := r.got()
	if len(got) != 10+kept+1 || got[10+kept].Type != webhook.StateReset {
		t.Errorf("%d events, the last one %+v", len(got), got[len(got)-1])
	}
	r.gapless()
	all[0].say(0, 1)
	until(t, "what is new", func() bool { return len(r.got()) == 10+kept+2 })
}

func TestFactsAreReadAsTheyWereWritten(t *testing.T) {
	s := startRedis(t)
	n := newNode(t, s.url(), "", "a", shortLease)
	var want []webhook.Fact
	for _, typ := range append(webhook.Types(), webhook.StateReset, webhook.Test) {
		want = append(want, webhook.Fact{Hook: "hook_1", Event: webhook.Event{
			Type: typ, Channel: "a b\n", User: "42", Connection: "sid", Event: "client-e", Code: "invalid_key", Reason: "left",
			Count: 7, Info: []byte(`{"name":"Ann"}`), Data: []byte(`[1]`),
		}}, webhook.Fact{Event: webhook.Event{Type: typ}})
	}
	for range 2 { // the second call is a repetition
		if err := n.AppendFacts(t.Context(), "shop", n.id, 1, want); err != nil {
			t.Fatal(err)
		}
	}
	page, err := n.ReadFacts(t.Context(), "shop", webhook.FactID{}, webhook.UnknownIndex, 1000)
	if err != nil || page.Index != 0 || len(page.Facts) != len(want) {
		t.Fatal(err, page)
	}
	var last webhook.FactID
	for i, f := range page.Facts {
		if f.ID.Compare(last) <= 0 || f.ID.Time().After(page.Now) {
			t.Errorf("%v after %v, now %v", f.ID, last, page.Now)
		}
		last, f.ID = f.ID, webhook.FactID{}
		if fmt.Sprintf("%+v", f) != fmt.Sprintf("%+v", want[i]) {
			t.Errorf("%+v, want %+v", f, want[i])
		}
	}
	if rest, err := n.ReadFacts(t.Context(), "shop", page.Facts[4].ID, webhook.UnknownIndex, 2); err != nil || rest.Index != 5 || len(rest.Facts) != 2 || rest.Facts[0].ID != page.Facts[5].ID {
		t.Error(err, rest)
	}
}

// Redis answers nobody else while a script reads.
func TestLargeFactsAreReadInSmallPages(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	n := newNode(t, s.url(), "", "a", shortLease)
	const count, size, most = 200, 64 << 10, 512 << 10
	facts := make([]webhook.Fact, count)
	for i := range facts {
		data := "1"
		if i >= count/2 { // the first ones are small
			data = `"` + strings.Repeat("x", size-2) + `"`
		}
		facts[i].Event = webhook.Event{Type: webhook.ClientEvent, Channel: strconv.Itoa(i), Data: []byte(data)}
	}
	if err := n.AppendFacts(t.Context(), "shop", n.id, 1, facts); err != nil {
		t.Fatal(err)
	}
	var after webhook.FactID
	for read, index := 0, webhook.UnknownIndex; read < count; {
		page, err := n.ReadFacts(t.Context(), "shop", after, index, count)
		if err != nil || page.Index != uint64(read) || len(page.Facts) == 0 {
			t.Fatalf("after %d: %d facts, index %d, %v", read, len(page.Facts), page.Index, err)
		}
		bytes := 0
		for i, f := range page.Facts {
			if f.Event.Channel != strconv.Itoa(read+i) {
				t.Fatalf("fact %d is %s", read+i, f.Event.Channel)
			}
			bytes += len(f.Event.Data)
		}
		if bytes > most+size {
			t.Fatalf("a page has %d facts of %d bytes", len(page.Facts), bytes)
		}
		read, after = read+len(page.Facts), page.Facts[len(page.Facts)-1].ID
		if index = uint64(read); read == count/2+count/4 {
			index = webhook.UnknownIndex
		}
	}
}

func TestHookOfAMachineWhoseClockIsAheadMissesNothing(t *testing.T) {
	s := startRedis(t)
	r := newReceiver(t)
	hook := hookTo(r.URL)
	hook.Created = time.Now().Add(5 * time.Minute)
	all, _ := tellers(t, s.url(), hook)
	for _, m := range all {
		m.say(0, 20)
	}
	r.complete(20, all...)
}
