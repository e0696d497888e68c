package webhook

import (
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestHandoffKeepsOrderAndEndsWithWhatIsPending(t *testing.T) {
	var got []Event
	h := NewHandoff(func(e Event) { got = append(got, e) }, zap.NewNop())
	for i := range 5000 {
		h.Add(Event{Type: MemberJoined, User: itoa(i)})
	}
	<-h.Close()
	<-h.Close()
	h.Add(Event{})
	if len(got) != 5000 || h.bytes != 0 {
		t.Fatalf("%d events, %d bytes left", len(got), h.bytes)
	}
	for i, e := range got {
		if e.User != itoa(i) {
			t.Fatalf("event %d is of user %s", i, e.User)
		}
	}
}

func TestHandoffDoesNotWaitForWhatHangsAndSaysOnceWhatItDropped(t *testing.T) {
	core, logs := observer.New(zapcore.WarnLevel)
	began, release := make(chan struct{}, 100), make(chan struct{})
	var got []Event
	h := NewHandoff(func(e Event) {
		began <- struct{}{}
		<-release
		got = append(got, e)
	}, zap.New(core))
	h.most = 10
	h.Add(Event{User: "first"})
	<-began
	for i := range 25 {
		h.Add(Event{User: itoa(i)})
	}
	if n := logs.Len(); n != 1 {
		t.Errorf("%d lines when events are dropped", n)
	}
	close(release)
	until(t, "end of the burst", func() bool { return logs.Len() == 2 })
	h.Add(Event{User: "last"})
	<-h.Close()
	if n := len(got); n != 12 || got[10].User != "9" || got[11].User != "last" {
		t.Errorf("%d events, %+v", n, got)
	}
	if entries := logs.All(); entries[1].ContextMap()["events"] != uint64(15) || len(entries) != 2 {
		t.Errorf("%+v", entries)
	}
}

func TestHandoffBoundsMemory(t *testing.T) {
	began, release := make(chan struct{}, 100), make(chan struct{})
	n := 0
	h := NewHandoff(func(Event) {
		began <- struct{}{}
		<-release
		n++
	}, zap.NewNop())
	h.Add(Event{})
	<-began
	for range 40 {
		h.Add(Event{Data: make([]byte, 1<<20)})
	}
	close(release)
	<-h.Close()
	if n != 1+15 { // each is larger than 1 MiB by its other fields
		t.Errorf("%d events", n)
	}
}
