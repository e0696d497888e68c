package webhook

import (
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// log notes the users of events, with the time since its first one.
type eventLog struct {
	mu    sync.Mutex
	began time.Time
	users []string
	at    []time.Duration
}

func (l *eventLog) emit(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.users = append(l.users, e.User)
	l.at = append(l.at, time.Since(l.began))
}

func TestHeldEventIsEmittedUnlessTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &eventLog{began: time.Now()}
		d := NewDebounce(log.emit, 3*time.Second)
		defer d.Close()
		d.Hold("a", Event{User: "ann"})
		time.Sleep(time.Second)
		d.Hold("b", Event{User: "bob"})
		d.Hold("c", Event{User: "eve"})
		d.Hold("a", Event{User: "ann again"}) // is held already
		time.Sleep(time.Second)
		if !d.TakeBack("b") || d.TakeBack("b") || d.TakeBack("nobody") {
			t.Error("TakeBack is wrong")
		}
		time.Sleep(10 * time.Second)
		if d.TakeBack("a") {
			t.Error("an event was taken back after it was emitted")
		}
		d.Hold("a", Event{User: "later"})
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if want := []string{"ann", "eve", "later"}; !slices.Equal(log.users, want) {
			t.Errorf("emitted %v, want %v", log.users, want)
		}
		if want := []time.Duration{3 * time.Second, 4 * time.Second, 15 * time.Second}; !slices.Equal(log.at, want) {
			t.Errorf("at %v, want %v", log.at, want)
		}
	})
}

func TestCloseEmitsWhatIsHeld(t *testing.T) {
	log := &eventLog{}
	d := NewDebounce(log.emit, time.Hour)
	for i := range 5 {
		d.Hold(strconv.Itoa(i), Event{User: strconv.Itoa(i)})
	}
	d.TakeBack("2")
	d.Close()
	d.Close()
	d.Hold("6", Event{User: "6"})
	if want := []string{"0", "1", "3", "4", "6"}; !slices.Equal(log.users, want) {
		t.Errorf("emitted %v, want %v", log.users, want)
	}
}

func TestHeldEventsAreBounded(t *testing.T) {
	log := &eventLog{}
	d := NewDebounce(log.emit, time.Hour)
	defer d.Close()
	d.most = 10
	for i := range 25 {
		d.Hold(strconv.Itoa(i), Event{User: strconv.Itoa(i)})
	}
	if len(log.users) != 15 || log.users[0] != "0" || log.users[14] != "14" || d.TakeBack("14") || !d.TakeBack("15") {
		t.Errorf("emitted %v", log.users)
	}
}

// Channels are occupied and vacated from many goroutines. What is emitted of each
// alternates, and ends with its state.
func TestTakenBackEventsLeaveAConsistentStory(t *testing.T) {
	const channels, changes = 20, 300
	var mu sync.Mutex
	story := make(map[string][]string)
	emit := func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		story[e.Channel] = append(story[e.Channel], e.Type)
	}
	d := NewDebounce(emit, 50*time.Microsecond)
	var all sync.WaitGroup
	for c := range channels {
		all.Go(func() {
			channel := strconv.Itoa(c)
			for i := range changes {
				if i%2 == 1 {
					d.Hold(channel, Event{Type: ChannelVacated, Channel: channel})
				} else if !d.TakeBack(channel) {
					emit(Event{Type: ChannelOccupied, Channel: channel})
				}
			}
		})
	}
	all.Wait()
	d.Close()
	for channel, types := range story {
		for i, typ := range types {
			if want := []string{ChannelOccupied, ChannelVacated}[i%2]; typ != want {
				t.Fatalf("channel %s: %v", channel, types)
			}
		}
		if len(types)%2 != 0 {
			t.Errorf("channel %s is not vacated in the end", channel)
		}
	}
	if len(story) != channels {
		t.Errorf("%d channels", len(story))
	}
}
