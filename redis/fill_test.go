package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
)

// fill subscribes to a channel and returns the history that the hub gets.
func (m *machine) fill(app, channel string) filled {
	m.t.Helper()
	m.mu.Lock()
	before := len(m.fills)
	m.mu.Unlock()
	m.subscribe(app, channel)
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.fills) != before+1 {
		m.t.Fatalf("filled %d times", len(m.fills)-before)
	}
	return m.fills[before]
}

func TestFirstSubscriberOfAMachineGetsTheHistory(t *testing.T) {
	machines := ofMachines(startRedis(t), 2)
	publisher, m := machines[0], machines[1]
	keep := func(channel string, n int) {
		sent := message("app", channel, "e")
		sent.Keep.Messages = n
		publisher.publish(sent)
	}
	for _, channel := range []string{"all", "trimmed", "trimmed", "all", "cut", "trimmed"} { // 1 to 6
		n := 100
		if channel == "trimmed" {
			n = 2
		}
		keep(channel, n)
	}
	keep("cut", 0) // 7: nothing before it is in the history any longer
	ephemeral := message("app", "all", "e")
	ephemeral.NoHistory = true
	publisher.publish(ephemeral) // 8
	keep("cut", 100)             // 9
	keep("none", 0)              // 10
	keep("expired", 100)         // 11
	last := message("app", "all", "e")
	publisher.publish(last) // 12
	if err := publisher.client.Do(t.Context(), publisher.client.B().Unlink().Key(m.app("app").streamKey(last.Epoch, "expired")).Build()).Error(); err != nil {
		t.Fatal(err)
	}
	for channel, want := range map[string]struct {
		floor uint64
		past  []uint64
	}{
		"all":     {0, []uint64{1, 4, 12}},
		"trimmed": {2, []uint64{3, 6}},
		"cut":     {7, []uint64{9}},
		"none":    {10, nil},
		"expired": {11, nil},
		"quiet":   {0, nil},
	} {
		got := m.fill("app", channel)
		var past []uint64
		for _, f := range got.past {
			past = append(past, f.Offset)
			if f.Channel != channel || f.Event != "e" || f.Old < 0 || f.Old > patience {
				t.Errorf("%s: %+v", channel, f)
			}
		}
		if got.at != last.Position || got.floor != want.floor || fmt.Sprint(past) != fmt.Sprint(want.past) {
			t.Errorf("%s: at %v, after %d: %v; want after %d: %v", channel, got.at, got.floor, past, want.floor, want.past)
		}
	}
	if got := m.fill("another app", "all"); got.at.Offset != 0 || got.at.Epoch == "" || got.floor != 0 || got.past != nil {
		t.Errorf("an app without messages: %+v", got)
	}
}

// The offset of a quiet channel's last message expires before its epoch ends.
func TestQuietChannelIsOnlyKnownForTheLastHour(t *testing.T) {
	s := startRedis(t)
	m := s.join("")
	for range 10 {
		m.publish(message("app", "busy", "e"))
	}
	key := m.app("app").positionKey()
	now := time.Now().Unix()
	for i, c := range []struct {
		marks []string // p and q, r and s
		want  uint64
	}{
		{[]string{"0", "0", ago(now, 60), "0"}, 0},
		{[]string{ago(now, 2400), "3", ago(now, 60), "7"}, 3},
		{[]string{ago(now, 4000), "3", ago(now, 60), "7"}, 7},
		{[]string{ago(now, 9000), "3", ago(now, 4000), "7"}, 10},
	} {
		if err := s.do("HSET", key, "p", c.marks[0], "q", c.marks[1], "r", c.marks[2], "s", c.marks[3]).Error(); err != nil {
			t.Fatal(err)
		}
		if got := m.fill("app", fmt.Sprint("quiet", i)); got.floor != c.want {
			t.Errorf("%v: after %d, want %d", c.marks, got.floor, c.want)
		}
	}
	m.publish(message("app", "busy", "e"))
	marks, err := s.do("HMGET", key, "p", "q", "r", "s").AsStrSlice()
	if err != nil || marks[0] != ago(now, 4000) || marks[1] != "7" || marks[3] != "10" {
		t.Errorf("the marks became %v, %v", marks, err)
	}
	m.publish(message("app", "busy", "e"))
	if again, err := s.do("HMGET", key, "p", "q", "r", "s").AsStrSlice(); err != nil || fmt.Sprint(again) != fmt.Sprint(marks) {
		t.Errorf("the marks became %v from %v, %v", again, marks, err)
	}
}

func ago(now, seconds int64) string { return strconv.FormatInt(now-seconds, 10) }

// Subscribers come, stay for a moment and go on a machine on which nobody else is in the
// channel, while others publish.
func TestSinceMissesNothingOnAnyMachine(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	publisher, reader := s.hub(), s.hub()
	ctx, stop := context.WithCancel(t.Context())
	var l ledger
	published := make(chan struct{})
	go func() {
		defer close(published)
		for i := 0; ctx.Err() == nil; i++ {
			m := *message("app", string(rune('a'+i%2)), "e")
			m.Data = []byte(strconv.Itoa(i))
			if _, err := publisher.Publish(t.Context(), m); err != nil {
				t.Error(err)
				return
			}
			l.add(&hub.Message{Channel: m.Channel, Position: hub.Position{Epoch: "e", Offset: uint64(i + 1)}})
		}
	}()
	other := reader.Join("app", new(inbox))
	if err := other.Subscribe(t.Context(), "b", 10, hub.From{}, func(hub.Standing[string]) {}); err != nil {
		t.Fatal(err)
	}
	var got []string
	since := &hub.Position{}
	for round := range 60 {
		box := new(inbox)
		m := reader.Join("app", box)
		from := hub.From{Since: since, Last: 0}
		if round == 0 {
			from = hub.From{Last: 1}
		}
		var standing hub.Standing[string]
		if err := m.Subscribe(t.Context(), "a", 10, from, func(s hub.Standing[string]) { standing = s }); err != nil {
			t.Fatal(err)
		}
		if round > 0 && standing.Missing != "" {
			t.Fatalf("round %d: %s", round, standing.Missing)
		}
		if round > 0 {
			got = append(got, standing.Replayed...)
		}
		since = &hub.Position{Epoch: standing.Position.Epoch, Offset: standing.Position.Offset}
		if round%2 == 0 {
			until(t, "one arrives live", func() bool { return len(box.all()) > 0 })
		}
		m.Close()
		all := box.all()
		got = append(got, all...)
		if len(all) > 0 { // one message has one channel; the app's offset is twice that of a
			n, err := strconv.Atoi(strings.TrimPrefix(all[len(all)-1], "a "))
			if err != nil {
				t.Fatal(err)
			}
			since.Offset = uint64(n) + 1
		}
	}
	stop()
	<-published
	if len(got) < 100 {
		t.Fatalf("got %d messages", len(got))
	}
	last := -1
	for _, text := range got {
		n, err := strconv.Atoi(strings.TrimPrefix(text, "a "))
		if err != nil || last >= 0 && n != last+2 {
			t.Fatalf("%q follows %d", text, last)
		}
		last = n
	}
}

// A message that is not kept cannot be read again.
func TestMessagesThatCannotBeFilledAreReported(t *testing.T) {
	s := startRedis(t)
	machines := ofMachines(s, 2)
	m := machines[1]
	m.subscribe("app", "a", "b")
	first := message("app", "a", "first")
	machines[0].publish(first)
	until(t, "it arrives", func() bool { return len(m.delivered("app")) == 1 })
	// As after a connection that broke, and a history that is too short.
	sent := message("app", "a", "lost")
	machines[0].publishUnheard(sent)
	machines[0].publish(message("app", "b", "other"), message("app", "a", "second"))
	until(t, "the next arrives", func() bool { return len(m.delivered("app")) == 3 })
	m.mu.Lock()
	defer m.mu.Unlock()
	if fmt.Sprint(m.lost) != "[a 2]" {
		t.Errorf("lost %v", m.lost)
	}
}

// No later message of the channel says so.
func TestMessagesThatAGapHasLostAreReportedInAQuietChannel(t *testing.T) {
	s := startRedis(t)
	machines := ofMachines(s, 2)
	m := machines[1]
	m.subscribe("app", "a", "b", "quiet")
	machines[0].publish(message("app", "quiet", "first"), message("app", "a", "second"))
	until(t, "they arrive", func() bool { return len(m.delivered("app")) == 2 })
	machines[0].publishUnheard(message("app", "a", "lost"))
	for range 2 {
		if err := s.do("CLIENT", "KILL", "TYPE", "pubsub").Error(); err != nil {
			t.Fatal(err)
		}
		until(t, "the loss is told", func() bool {
			m.mu.Lock()
			defer m.mu.Unlock()
			return len(m.lost) > 0
		})
		sent := message("app", "b", "after the gap") // nothing follows in a
		machines[0].publish(sent)
		var l ledger
		l.add(sent)
		l.expect(m, "app", "a", "b", "quiet")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if fmt.Sprint(m.lost) != "[a 3]" {
		t.Errorf("lost %v", m.lost)
	}
}

// publishUnheard publishes a message that no machine gets, and that is not kept.
func (m *machine) publishUnheard(sent *hub.Message) {
	m.t.Helper()
	a := m.app(sent.App)
	position := a.lastKnown()
	c := m.client
	ctx := m.t.Context()
	offset := strconv.FormatUint(position.Offset+1, 10)
	for _, answer := range c.DoMulti(ctx,
		c.B().Hset().Key(a.positionKey()).FieldValue().FieldValue("o", offset).Build(),
		c.B().Set().Key(a.placeKey(position.Epoch, sent.Channel)).Value(offset).Build(),
	) {
		if err := answer.Error(); err != nil {
			m.t.Fatal(err)
		}
	}
}

// The queue has no room for the history itself.
func TestHistoryThatFindsTheQueueFullIsReadAgain(t *testing.T) {
	t.Parallel()
	a := &app{bytes: maxQueue, working: true} // no worker begins
	f := a.expectFill(nil)
	done, err := a.place(t.Context(), item{fill: f})
	if done || err != nil || !a.behind || a.bytes != 0 {
		t.Errorf("done %t, %v, behind %t, %d bytes", done, err, a.behind, a.bytes)
	}
}

// How many messages are read at a time must not go by the small ones before them.
func TestLargeMessagesAfterSmallOnesAreReadFewAtATime(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	m := s.join("")
	publish := func(n, size int) {
		some := make([]*hub.Message, n)
		for i := range some {
			some[i] = message("app", "a", "event")
			some[i].Data = []byte(`"` + strings.Repeat("x", size) + `"`)
			some[i].Keep.Messages = 10_000
		}
		m.publish(some...)
	}
	for range 80 {
		publish(1, 1<<20)
	}
	for range 20 { // the latest, which are read first
		publish(100, 1)
	}
	before := s.info()["used_memory_peak"]
	if past := m.fill("app", "a").past; len(past) < 2000 || len(past) > 2000+maxPast>>20 {
		t.Errorf("%d messages", len(past))
	}
	if grown := s.info()["used_memory_peak"] - before; grown > 60<<20 {
		t.Errorf("Redis took %.0f more bytes", grown)
	}
}

// Redis answers nobody else until it has read all histories that were asked for together,
// for example by the clients of a machine that has failed.
func TestFewHistoriesOfSomeSizeAreReadAtOnce(t *testing.T) {
	t.Parallel()
	m := startRedis(t).join("")
	sizes := map[string]int{"small": 1, "medium": 20 << 10, "large": 300 << 10}
	for channel, size := range sizes {
		sent := message("app", channel, "event")
		sent.Data = []byte(`"` + strings.Repeat("x", size) + `"`)
		m.publish(sent)
	}
	for i, channel := range []string{"small", "medium", "large"} {
		slots := m.pastReads[i].slots
		if (slots == nil) != (channel == "small") {
			t.Fatalf("%s: %d at once", channel, cap(slots))
		}
		for range cap(slots) { // others are being read
			slots <- struct{}{}
		}
		if slots != nil {
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			if err := m.Interest(ctx, "app", channel, true); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", channel, err)
			}
			cancel()
		}
		for range cap(slots) {
			<-slots
		}
		if past := m.fill("app", channel).past; len(past) != 1 || len(past[0].Data) != sizes[channel]+2 {
			t.Errorf("%s: %d messages", channel, len(past))
		}
	}
}

// Redis answers nobody else while a script reads.
func TestLargeHistoryIsReadUpToABound(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	m := s.join("")
	const size = 1 << 20
	var sent []*hub.Message
	for range maxPast/size + 4 {
		large := message("app", "large", "event")
		large.Data = []byte(`"` + strings.Repeat("x", size) + `"`)
		m.publish(large)
		sent = append(sent, large)
	}
	many := make([]*hub.Message, 2500)
	for i := range many {
		many[i] = message("app", "many", strconv.Itoa(i))
	}
	for some := range slices.Chunk(many, 100) {
		m.publish(some...)
	}
	m.subscribe("app", "large", "many")
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, want := range [][]*hub.Message{sent[len(sent)-maxPast/size+1:], many} { // its frame takes room, too
		got := m.fills[i]
		if len(got.past) != len(want) {
			t.Fatalf("%s: %d messages, want %d", got.channel, len(got.past), len(want))
		}
		for k, m := range got.past {
			if m.Position != want[k].Position || m.Event != want[k].Event {
				t.Fatalf("%s: message %d is %v, want %v", got.channel, k, m.Position, want[k].Position)
			}
		}
	}
	if want := sent[len(sent)-maxPast/size].Offset; m.fills[0].floor != want {
		t.Errorf("all after %d are there, want %d", m.fills[0].floor, want)
	}
}

func TestMessagesThatWaitForTheHistoryAreBoundedInBytes(t *testing.T) {
	t.Parallel()
	a := startRedis(t).join("").app("app")
	s := &subscription{app: a, channel: "a"}
	a.add(s, true)
	f := a.expectFill(s)
	large := message("app", "a", "event")
	large.Data = make([]byte, maxEarlyBytes/4)
	for i := range 20 {
		a.deliver(s, &envelope{Position: hub.Position{Epoch: "e", Offset: uint64(i + 1)}, body: encodeBody(large)}, true)
	}
	if len(s.early) > 5 {
		t.Errorf("%d messages of %d bytes wait", len(s.early), len(large.Data))
	}
	f.at = a.at
	if a.finishFill(s, f); <-f.done {
		t.Error("the history is complete without those that did not wait")
	}
}
