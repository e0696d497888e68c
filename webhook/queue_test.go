package webhook

import (
	"bytes"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

func TestFullQueueDropsTheOldestAndSaysSo(t *testing.T) {
	r := newReceiver(t, answering(http.StatusBadGateway))
	m := start(t, Options{})
	m.limits.events = 150
	set(t, m, hookTo(r.URL))
	emit(m, "shop", 0, 1)
	until(t, "an attempt", func() bool { return len(r.all()) > 0 })
	first := r.all()[0].decode(t)
	for i := 1; i < 1000; i += 37 { // in many writes
		n := min(37, 1000-i)
		emit(m, "shop", i, n)
		until(t, "write", func() bool { return m.pending() == 0 })
	}
	s, _ := m.State("shop", "hook_1")
	if s.Waiting > 152 || s.Dropped != 1000-151 {
		t.Errorf("%+v", s)
	}
	r.answers(nil)
	until(t, "everything", func() bool { s, _ := m.State("shop", "hook_1"); return s.Waiting == 0 })
	events := r.events()
	if dropped := account(t, events, 1000); dropped != s.Dropped || events[1].Type != Dropped {
		t.Errorf("%d are said to be dropped in %+v, want %d", dropped, events[:3], s.Dropped)
	}
	if len(first.Events) != 1 || events[0] != first.Events[0] {
		t.Errorf("the batch that was being sent changed from %+v to %+v", first.Events, events[0])
	}
}

// pending returns how many events are not on disk.
func (m *Manager) pending() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, q := range m.queues {
		q.disk.Lock()
		q.mu.Lock()
		n += len(q.pending) + int(q.lost)
		q.mu.Unlock()
		q.disk.Unlock()
	}
	return n
}

func TestQueueOfLargeEventsIsBoundedInBytes(t *testing.T) {
	r := newReceiver(t, answering(http.StatusBadGateway))
	timing := quickly
	timing.FirstRetry, timing.LastRetry = 500*time.Millisecond, 500*time.Millisecond // each attempt has a large body
	m := start(t, Options{Timing: timing})
	m.limits.bytes = 1 << 20
	set(t, m, hookTo(r.URL))
	data := []byte(`"` + strings.Repeat("x", 100<<10) + `"`)
	for range 40 {
		m.Emit(Event{Type: ClientEvent, App: "shop", Channel: "a", Data: data})
		until(t, "write", func() bool { return m.pending() == 0 })
	}
	info, err := os.Stat(m.find("shop", "hook_1").journal.path)
	if err != nil || info.Size() > 4<<20 {
		t.Errorf("the journal has %d bytes: %v", info.Size(), err)
	}
	if m.Stats().Dropped < 25 {
		t.Errorf("%+v", m.Stats())
	}
	r.answers(nil)
	until(t, "everything", func() bool { return m.Stats().Waiting == 0 })
	for _, a := range r.all() {
		if len(a.body) > maxBody {
			t.Errorf("a body of %d bytes", len(a.body))
		}
	}
}

func TestEventsThatFindNoRoomInMemoryAreCounted(t *testing.T) {
	r := newReceiver(t, nil)
	m := start(t, Options{})
	set(t, m, hookTo(r.URL))
	q := m.find("shop", "hook_1")
	q.disk.Lock() // a disk that hangs
	emit(m, "shop", 0, maxPending+1000)
	q.disk.Unlock()
	until(t, "write", func() bool { return m.pending() == 0 })
	emit(m, "shop", maxPending+1000, 1)
	until(t, "everything", func() bool { return m.pending() == 0 && m.Stats().Waiting == 0 })
	if dropped := account(t, r.events(), maxPending+1001); dropped != 1000 {
		t.Errorf("%d dropped", dropped)
	}
	if n := m.memory.Load(); n != 0 {
		t.Errorf("%d bytes are still accounted for", n)
	}
}

func TestWhatWasDroppedIsStillCountedWhenTheQueueIsFull(t *testing.T) {
	r := newReceiver(t, answering(http.StatusBadGateway))
	m := start(t, Options{})
	m.limits.events = 5
	set(t, m, hookTo(r.URL))
	q := m.find("shop", "hook_1")
	q.disk.Lock() // a disk that hangs
	emit(m, "shop", 0, maxPending+100)
	q.disk.Unlock()
	until(t, "write", func() bool { return m.pending() == 0 })
	emit(m, "shop", maxPending+100, 20) // which leaves no room for the event that tells of the 100
	until(t, "write", func() bool { return m.pending() == 0 })
	r.answers(nil)
	until(t, "everything", func() bool { return m.Stats().Waiting == 0 })
	if dropped := account(t, r.events(), maxPending+120); dropped != m.Stats().Dropped {
		t.Errorf("%d are said to be dropped, and %d were", dropped, m.Stats().Dropped)
	}
}

func TestEventThatCannotBeSentIsDropped(t *testing.T) {
	r := newReceiver(t, nil)
	m := start(t, Options{})
	set(t, m, hookTo(r.URL))
	emit(m, "shop", 0, 1)
	m.Emit(Event{Type: ClientEvent, App: "shop", Data: []byte("{not JSON")})
	m.Emit(Event{Type: ClientEvent, App: "shop", Data: []byte(`"` + strings.Repeat("x", maxEvent) + `"`)})
	emit(m, "shop", 3, 1)
	if dropped := account(t, r.untilEvents(4), 4); dropped != 2 {
		t.Errorf("%d dropped", dropped)
	}
}

func TestJournalStaysSmall(t *testing.T) {
	r := newReceiver(t, nil)
	m := start(t, Options{})
	set(t, m, hookTo(r.URL))
	path := m.find("shop", "hook_1").journal.path
	for i := 0; i < 8000; i += 1000 {
		emit(m, "shop", i, 1000)
		until(t, "everything", func() bool { return m.pending() == 0 && m.Stats().Waiting == 0 })
		if info, err := os.Stat(path); err != nil || info.Size() > 300<<10 {
			t.Fatalf("after %d events: %d bytes, %v", i, info.Size(), err)
		}
	}
	account(t, r.events(), 8000)
}

func TestEventsAreDroppedWhileTheDiskIsFull(t *testing.T) {
	r := newReceiver(t, nil)
	m := start(t, Options{})
	set(t, m, hookTo(r.URL))
	path := m.find("shop", "hook_1").journal.path
	must(t, os.Rename(path, path+".away"))
	must(t, os.Mkdir(path, 0o700)) // so that it cannot be written
	emit(m, "shop", 0, 10)
	until(t, "drop", func() bool { return m.Stats().Dropped == 10 })
	must(t, os.Remove(path))
	must(t, os.Rename(path+".away", path))
	emit(m, "shop", 10, 10)
	if dropped := account(t, r.untilEvents(11), 20); dropped != 10 {
		t.Errorf("%d dropped", dropped)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDamagedJournalIsReadUpToTheDamage(t *testing.T) {
	whole := appendLine(appendLine(nil, eventLine, 1, []byte(`{"seq":1}`)), stateLine, 0, []byte(`{"next":2}`))
	whole = appendLine(whole, eventLine, 2, []byte(`{"seq":2,"user":"`+strings.Repeat("é", 20<<10)+`"}`))
	path := t.TempDir() + "/j"
	for n := range len(whole) + 1 {
		if n > 60 && n < len(whole)-30 && n%5003 != 0 {
			continue
		}
		cut := bytes.Clone(whole[:n])
		flipped := bytes.Clone(whole)
		if n < len(whole) {
			flipped[n] ^= 4
		}
		for _, content := range [][]byte{cut, flipped} {
			must(t, os.WriteFile(path, content, 0o600))
			j := journal{path: path}
			var read []byte
			damaged, err := j.open(func(l line) bool { read = appendLine(read, l.kind, l.seq, l.data); return true })
			if err != nil || !bytes.HasPrefix(whole, read) || damaged != (len(read) < len(content)) || int(j.end) != len(read) {
				t.Fatalf("%d: %d bytes of %d, damaged %v, end %d, %v", n, len(read), len(content), damaged, j.end, err)
			}
			if info, err := os.Stat(path); err != nil || info.Size() != j.end {
				t.Fatalf("%d: %v, %v", n, info, err)
			}
		}
	}
}

func TestQueueThatIsDamagedWhileInUseIsDropped(t *testing.T) {
	r := newReceiver(t, answering(http.StatusBadGateway))
	m := start(t, Options{})
	set(t, m, hookTo(r.URL))
	emit(m, "shop", 0, 10)
	until(t, "an attempt", func() bool { return len(r.all()) > 0 })
	path := m.find("shop", "hook_1").journal.path
	data, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, bytes.ReplaceAll(data, []byte(MemberJoined), []byte("member.danced")), 0o600))
	r.answers(nil)
	until(t, "everything", func() bool { return m.Stats().Waiting == 0 })
	emit(m, "shop", 10, 1)
	until(t, "events", func() bool { e := r.events(); return len(e) > 0 && e[len(e)-1].Seq == 11 })
	account(t, r.events(), 11)
}

func TestRetriesAreSpread(t *testing.T) {
	timing := Timing{}.withDefaults()
	for failures := range 100 {
		least, most := timing.LastRetry, time.Duration(0)
		for range 1000 {
			d := timing.delay(failures, 0)
			least, most = min(least, d), max(most, d)
		}
		bound := timing.LastRetry
		if failures < 9 {
			bound = timing.FirstRetry << failures
		}
		if least < timing.FirstRetry || most > bound || failures > 3 && (least > bound/4 || most < bound/2) {
			t.Errorf("after %d failures: %s to %s", failures, least, most)
		}
	}
	for asked, want := range map[time.Duration]time.Duration{time.Millisecond: time.Second, 42 * time.Second: 42 * time.Second, time.Hour: 10 * time.Minute} {
		if got := timing.delay(3, asked); got != want {
			t.Errorf("asked for %s, got %s", asked, got)
		}
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-1": 0, "soon": 0, "99999999999999": 0,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Fri, 02 Jan 2026 03:03:05 GMT": 0,
	} {
		if got := retryAfter(header, now); got != want {
			t.Errorf("%q is %s, want %s", header, got, want)
		}
	}
}
