package webhook

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestQueueContinuesAfterRestart(t *testing.T) {
	dir := t.TempDir()
	r := newReceiver(t, answering(http.StatusInternalServerError))
	m := start(t, Options{Dir: dir})
	set(t, m, hookTo(r.URL))
	emit(m, "shop", 0, 150)
	until(t, "an attempt", func() bool { return len(r.all()) > 0 })
	emit(m, "shop", 150, 150) // some are pending when it is closed
	closeNow(t, m)
	tried := len(r.all())
	if m.Wanted("shop", MemberJoined, "") || m.Set(nil) == nil {
		t.Error("a closed manager is used")
	}

	again := reopen(t, Options{Dir: dir})
	set(t, again, hookTo(r.URL))
	until(t, "an attempt", func() bool { return len(r.all()) > tried })
	if before, after := r.all()[0], r.all()[tried]; before.id != after.id || before.body != after.body {
		t.Errorf("the batch was\n%s %s and is\n%s %s", before.id, before.body, after.id, after.body)
	}
	r.answers(nil)
	emit(again, "shop", 300, 10)
	events := r.untilEvents(310)
	checkUsers(t, events, 0)
	account(t, events, 310)
	until(t, "receipt", func() bool { return again.Stats().Waiting == 0 })
	closeNow(t, again)

	last := reopen(t, Options{Dir: dir}) // continues at the next number, though its queue is empty
	set(t, last, hookTo(r.URL))
	emit(last, "shop", 310, 1)
	account(t, r.untilEvents(311), 311)
}

func TestRequestEndsBeforeClose(t *testing.T) {
	release := make(chan struct{})
	r := newReceiver(t, func(http.ResponseWriter, *http.Request) { <-release })
	dir := t.TempDir()
	m := start(t, Options{Dir: dir})
	set(t, m, hookTo(r.URL))
	emit(m, "shop", 0, 1)
	until(t, "a request", func() bool { return len(r.all()) > 0 })
	closed := make(chan error)
	go func() { closed <- m.Close(t.Context()) }()
	until(t, "close", func() bool { return !m.Wanted("shop", MemberJoined, "") })
	select {
	case err := <-closed:
		t.Errorf("closed during a request: %v", err)
	default:
	}
	close(release)
	must(t, <-closed)
	again := reopen(t, Options{Dir: dir})
	set(t, again, hookTo(r.URL))
	emit(again, "shop", 1, 1)
	until(t, "receipt", func() bool { return again.Stats() == Stats{Delivered: 1} })
	checkUsers(t, r.events(), 0)
	if n := len(r.all()); n != 2 {
		t.Errorf("%d requests", n)
	}
}

// The receiver fetches the state at state.reset. If it were sent before what is left
// in the queue, older events would follow the state.
func TestStateResetStandsBetweenOldAndNewEventsAfterKill(t *testing.T) {
	dir, copied := t.TempDir(), t.TempDir()
	r := newReceiver(t, answering(http.StatusInternalServerError))
	m := start(t, Options{Dir: dir})
	set(t, m, hookTo(r.URL))
	emit(m, "shop", 0, 120)
	until(t, "write", func() bool { return m.pending() == 0 && len(r.all()) > 0 })
	must(t, os.CopyFS(copied, os.DirFS(dir))) // what a kill leaves
	closeNow(t, m)

	r.answers(nil)
	again := reopen(t, Options{Dir: copied})
	set(t, again, hookTo(r.URL))
	emit(again, "shop", 120, 1)
	events := r.untilEvents(122)
	checkUsers(t, events[:120], 0)
	account(t, events[:120], 120)
	if e := events[120]; e.Type != StateReset || e.Seq <= 1_000_000 {
		t.Errorf("%+v", e)
	}
	if e := events[121]; e.User != "120" || e.Seq != events[120].Seq+1 {
		t.Errorf("%+v", e)
	}
}

func TestHookThatTheDirectoryDoesNotKnowGetsStateReset(t *testing.T) {
	r := newReceiver(t, nil)
	m := reopen(t, Options{}) // as in a container without a volume
	set(t, m, hookTo(r.URL))
	emit(m, "shop", 0, 1)
	if events := r.untilEvents(2); events[0].Type != StateReset || events[0].Seq <= 1_000_000 || events[1].Seq != events[0].Seq+1 {
		t.Errorf("%+v", events)
	}
}

// A process is killed again and again while it emits and sends. The receiver gets
// everything that was on disk, in order, and state.reset after each kill.
func TestQueueSurvivesKill(t *testing.T) {
	dir := t.TempDir()
	r := newReceiver(t, nil)
	const rounds = 4
	for round := range rounds {
		c := startChild(t, r.URL, dir)
		for n := 0; c.lines.Scan(); n++ {
			if n == 7+round*11 {
				_ = c.Process.Kill()
			}
		}
		_ = c.Wait()
	}
	m := reopen(t, Options{Dir: dir})
	set(t, m, hookTo(r.URL))
	until(t, "everything", func() bool { return m.pending() == 0 && m.Stats().Waiting == 0 })
	// Of the same batch, the receiver has noted only the first that it accepted.
	run, user := 0, 0
	var seq uint64
	for i, e := range r.events() {
		switch {
		case e.Seq <= seq:
			t.Fatalf("event %d has the number %d after %d", i, e.Seq, seq)
		case e.Type == StateReset:
			if run > 0 && user < 100*(7+(run-1)*11) {
				t.Errorf("run %d ended with user %d", run, user)
			}
			run, user = run+1, 0
		case e.User != strconv.Itoa(user) || e.Seq != seq+1:
			t.Fatalf("event %d of run %d is %+v after %d, want user %d", i, run, e, seq, user)
		default:
			user++
		}
		seq = e.Seq
	}
	if run != rounds+1 { // of which the first found an empty directory
		t.Errorf("%d times state.reset", run)
	}
}

func TestDirectoryIsUsedByOneProcess(t *testing.T) {
	dir := t.TempDir()
	start(t, Options{Dir: dir})
	if _, err := Open(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "caddy reload") {
		t.Errorf("opened twice: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if _, err := Open(Options{Dir: file}); err == nil || !strings.Contains(err.Error(), "cannot be created") {
		t.Errorf("opened a file: %v", err)
	}
}

func TestOpenWithoutSetLosesNothing(t *testing.T) {
	dir := t.TempDir()
	r := newReceiver(t, nil)
	m := start(t, Options{Dir: dir, Timing: Timing{Batch: time.Hour}})
	set(t, m, hookTo(r.URL))
	emit(m, "shop", 0, 3)
	closeNow(t, m)
	closeNow(t, reopen(t, Options{Dir: dir})) // a configuration that failed
	again := reopen(t, Options{Dir: dir})
	set(t, again, hookTo(r.URL))
	checkUsers(t, r.untilEvents(3), 0)
}

func TestQueueThatLostItsEndGetsStateReset(t *testing.T) {
	dir := t.TempDir()
	r := newReceiver(t, nil)
	m := start(t, Options{Dir: dir, Timing: Timing{Batch: time.Hour}})
	set(t, m, hookTo(r.URL))
	emit(m, "shop", 0, 3)
	path := m.find("shop", "hook_1").journal.path
	closeNow(t, m)
	info, err := os.Stat(path)
	must(t, err)
	must(t, os.Truncate(path, info.Size()-5)) // a power failure after the end
	again := reopen(t, Options{Dir: dir})
	set(t, again, hookTo(r.URL))
	events := r.untilEvents(3)
	checkUsers(t, events[:2], 0)
	if events[2].Type != StateReset || events[2].Seq <= 1_000_000 {
		t.Errorf("%+v", events[2])
	}
}
