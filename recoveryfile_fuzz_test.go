package realtime

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/gob"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/idempotent"
	"github.com/seed-c079cc48/caddy-realtime/socketio"
)

// FuzzRecoveryFile reads arbitrary bytes as a recovery file, as they are, and as
// the content of a file whose checksum is right. A file without the right checksum
// is refused. One that is accepted can be restored: each session comes back or does
// not, and the hub goes on and can be saved again.
func FuzzRecoveryFile(f *testing.F) {
	whole := savedFile(f)
	f.Add(whole[len(recoveryFileHead) : len(whole)-sha256.Size])
	for _, odd := range []*hub.Snapshot{
		nil,
		{Sessions: []hub.SessionSnapshot{{App: "app_none", ID: "a", PID: strings.Repeat("p", 20), Left: time.Hour}}},
		{Streams: []hub.StreamSnapshot{{App: "app_a", Position: hub.Position{Epoch: hub.NewEpoch("app_a"), Offset: 1}, Channels: []hub.ChannelSnapshot{
			{Channel: "c", Messages: []hub.MessageSnapshot{{Offset: 2, Left: time.Hour}, {Offset: 1, Left: time.Hour}}},
		}}}},
		{Streams: []hub.StreamSnapshot{{App: "app_a", Position: hub.Position{Epoch: hub.NewEpoch("app_a"), Offset: 9}}}, Sessions: []hub.SessionSnapshot{{
			App: "app_a", ID: "a", PID: strings.Repeat("p", 20), Left: time.Hour, Start: 1,
			Channels: []hub.SubscriptionSnapshot{{Channel: "c", Since: 2}, {Channel: "c", Since: 3}},
			Replays:  []hub.ReplaySnapshot{{Channel: "c", At: 2, Offsets: []byte{0x80}}},
		}}},
	} {
		var body bytes.Buffer
		if err := gob.NewEncoder(&body).Encode(&recoveryFile{Saved: time.Now(), Hub: odd}); err != nil {
			f.Fatal(err)
		}
		f.Add(body.Bytes())
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := readRecoveryFile(body); err == nil && !bytes.HasPrefix(body, []byte(recoveryFileHead)) {
			t.Fatal("accepted without its first line")
		}
		data := append([]byte(recoveryFileHead), body...)
		sum := sha256.Sum256(data)
		data = append(data, sum[:]...)
		file, err := readRecoveryFile(data)
		if err != nil {
			return
		}
		h := restoredHub(t, file)
		defer func() {
			if err := h.Close(); err != nil {
				t.Error(err)
			}
			if err := h.Snapshot().Check(); err != nil {
				t.Errorf("what was restored cannot be saved: %v", err)
			}
		}()
		for _, s := range file.Hub.Sessions {
			for _, position := range []string{"", s.Arrived, "?"} {
				comesBack(h, s, position)
			}
		}
		for _, s := range file.Hub.Streams {
			if _, err := h.Publish(t.Context(), hub.Message{App: s.App, Channel: "c", Event: "e", Keep: hub.Keep{Messages: 10, Age: time.Hour}}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestDamagedRecoveryFileIsRefused(t *testing.T) {
	whole := savedFile(t)
	if _, err := readRecoveryFile(whole); err != nil {
		t.Fatal(err)
	}
	for length := range whole {
		if _, err := readRecoveryFile(whole[:length]); err == nil {
			t.Fatalf("accepted the first %d bytes of %d", length, len(whole))
		}
	}
	for i := range whole {
		flipped := bytes.Clone(whole)
		flipped[i] ^= 1 << (i % 8)
		if _, err := readRecoveryFile(flipped); err == nil {
			t.Fatalf("accepted with byte %d of %d flipped", i, len(whole))
		}
	}
	if _, err := readRecoveryFile(append(bytes.Clone(whole), 0)); err == nil {
		t.Fatal("accepted with a byte more")
	}
}

func TestImpossibleRecoveryFileIsRefused(t *testing.T) {
	epoch := hub.NewEpoch("app_a")
	stream := func(channels ...hub.ChannelSnapshot) []hub.StreamSnapshot {
		return []hub.StreamSnapshot{{App: "app_a", Position: hub.Position{Epoch: epoch, Offset: 5}, Channels: channels}}
	}
	session := func(change func(*hub.SessionSnapshot)) []hub.SessionSnapshot {
		s := hub.SessionSnapshot{App: "app_a", ID: "a", PID: strings.Repeat("p", 20), Left: time.Hour}
		change(&s)
		return []hub.SessionSnapshot{s}
	}
	for name, snapshot := range map[string]*hub.Snapshot{
		"nothing":                 nil,
		"another app's epoch":     {Streams: []hub.StreamSnapshot{{App: "app_a", Position: hub.Position{Epoch: "AAAAAAAAAAAAAAAA"}}}},
		"an app twice":            {Streams: append(stream(), stream()...)},
		"a channel twice":         {Streams: stream(hub.ChannelSnapshot{Channel: "c"}, hub.ChannelSnapshot{Channel: "c"})},
		"offsets that go back":    {Streams: stream(hub.ChannelSnapshot{Channel: "c", Messages: []hub.MessageSnapshot{{Offset: 3}, {Offset: 2}}})},
		"a message of the future": {Streams: stream(hub.ChannelSnapshot{Channel: "c", Messages: []hub.MessageSnapshot{{Offset: 6}}})},
		"a session of no app":     {Sessions: session(func(*hub.SessionSnapshot) {})},
		"a session without pid":   {Streams: stream(), Sessions: session(func(s *hub.SessionSnapshot) { s.PID = "" })},
		"a session twice":         {Streams: stream(), Sessions: append(session(func(*hub.SessionSnapshot) {}), session(func(*hub.SessionSnapshot) {})...)},
		"a session of the future": {Streams: stream(), Sessions: session(func(s *hub.SessionSnapshot) { s.Start = 6 })},
		"a subscription twice": {Streams: stream(), Sessions: session(func(s *hub.SessionSnapshot) {
			s.Channels = []hub.SubscriptionSnapshot{{Channel: "c"}, {Channel: "c"}}
		})},
		"a subscription of the future": {Streams: stream(), Sessions: session(func(s *hub.SessionSnapshot) {
			s.Channels = []hub.SubscriptionSnapshot{{Channel: "c", Since: 6}}
		})},
		"a replay that ends within a number": {Streams: stream(), Sessions: session(func(s *hub.SessionSnapshot) {
			s.Replays = []hub.ReplaySnapshot{{Channel: "c", At: 5, Offsets: []byte{1, 0x80}}}
		})},
		"a replay of the future": {Streams: stream(), Sessions: session(func(s *hub.SessionSnapshot) {
			s.Replays = []hub.ReplaySnapshot{{Channel: "c", At: 5, Offsets: []byte{6}}}
		})},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "recovery")
			if err := writeRecoveryFile(path, &recoveryFile{Saved: time.Now(), Hub: snapshot}); err != nil {
				t.Fatal(err)
			}
			if _, err := readRecoveryFile(contentOf(t, path)); err == nil {
				t.Error("it was accepted")
			}
		})
	}
}

// A client of a deleted app can leave while the app is being forgotten.
func TestSessionOfADeletedAppIsNotSaved(t *testing.T) {
	h := restoredHub(t, nil)
	m := h.Join("app_a", &restored{id: "a"})
	h.Begin(m, "", time.Minute, nil)
	h.Forget("app_a")
	m.Leave(time.Hour)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	snapshot := h.Snapshot()
	if len(snapshot.Sessions) != 0 {
		t.Errorf("%+v", snapshot.Sessions)
	}
	if err := snapshot.Check(); err != nil {
		t.Error(err)
	}
}

// savedFile returns a recovery file with messages and sessions, one of which got
// a replay.
func savedFile(t testing.TB) []byte {
	t.Helper()
	h := restoredHub(t, nil)
	publish := func(app, channel string) {
		m := hub.Message{App: app, Channel: channel, Event: "e", Data: []byte(`{"a":"\u00e9"}`), Keep: hub.Keep{Messages: 5, Age: time.Hour}}
		if _, err := h.Publish(context.Background(), m); err != nil {
			t.Fatal(err)
		}
	}
	for _, app := range []string{"app_a", "app_b"} {
		for _, channel := range []string{"c", "d", "c", "c"} {
			publish(app, channel)
		}
		m := h.Join(app, &restored{id: "socket of " + app})
		h.Begin(m, "", time.Minute, nil)
		for channel, from := range map[string]hub.From{"c": {Last: 2}, "d": {}} {
			if err := m.Subscribe(context.Background(), channel, 100, from, func(hub.Standing[*socketio.Broadcast]) {}); err != nil {
				t.Fatal(err)
			}
		}
		publish(app, "d")
		m.Leave(time.Hour)
		publish(app, "c")
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	file := &recoveryFile{Saved: time.Now(), Hub: h.Snapshot(), Keys: []idempotent.Saved{{App: "app_a", Answer: []byte(`{}`)}}}
	if len(file.Hub.Sessions) != 2 || len(file.Hub.Streams) != 2 {
		t.Fatalf("%+v", file.Hub)
	}
	path := filepath.Join(t.TempDir(), "recovery")
	if err := writeRecoveryFile(path, file); err != nil {
		t.Fatal(err)
	}
	return contentOf(t, path)
}

func contentOf(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// restoredHub returns a hub that continues with a file, or a new one.
func restoredHub(t testing.TB, file *recoveryFile) *hub.Hub[*socketio.Broadcast] {
	t.Helper()
	h, err := newHub(hub.NewMemory())
	if err != nil {
		t.Fatal(err)
	}
	if file != nil {
		h.Restore(file.Hub, time.Since(file.Saved), func(string) bool { return true })
		new(idempotent.Memory).Restore(file.Keys, time.Since(file.Saved))
	}
	return h
}

// comesBack brings the client of a saved session back, and lets it leave again.
func comesBack(h *hub.Hub[*socketio.Broadcast], s hub.SessionSnapshot, position string) {
	r := hub.Return[*socketio.Broadcast]{
		App: s.App, PID: s.PID, Position: position, To: &restored{id: s.ID},
		Answer: func(_ *hub.Session[*socketio.Broadcast], missed []*socketio.Broadcast) {
			for _, b := range missed {
				b.Identified()
				b.Plain()
			}
		},
	}
	if m, outcome := h.Recover(&r); outcome == hub.Recovered {
		m.Leave(time.Hour)
	}
}

// restored is a subscriber that drops what it gets.
type restored struct{ id string }

func (r *restored) ID() string                          { return r.id }
func (*restored) Queue(*socketio.Broadcast) hub.Flusher { return nil }
