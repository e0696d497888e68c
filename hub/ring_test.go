package hub

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A ring returns what was added to it and not removed, whatever the sizes.
func TestARingReturnsWhatItKeeps(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	type message struct {
		offset       uint64
		except, text string
	}
	for range 200 {
		var (
			r    = new(ring[string])
			want []message
			last uint64
			most = 1 + random.IntN(300)
		)
		for range 1000 {
			if random.IntN(3) == 0 && len(want) > 0 || len(want) == most {
				n := 1 + random.IntN(len(want))
				r.remove(n)
				if floor := want[n-1].offset; r.floor != floor {
					t.Fatalf("the floor is %d, not %d", r.floor, floor)
				}
				want = want[n:]
				continue
			}
			last += 1 + random.Uint64N(3)
			m := message{offset: last, text: strings.Repeat(strconv.FormatUint(last, 10), random.IntN(40))}
			switch random.IntN(20) {
			case 0:
				m.except = strings.Repeat("e", 1+random.IntN(200))
			case 1:
				m.text = strings.Repeat(m.text+".", 1+random.IntN(300))
			}
			r.add(kept{offset: m.offset}, m.except, []byte(m.text))
			want = append(want, m)
		}
		size := 0
		for i, k := range r.entries() {
			if got := (message{k.offset, r.except(k), string(r.text(k))}); got != want[i] {
				t.Fatalf("it returns %+v, not %+v", got, want[i])
			}
			size += k.place.len()
			if at, ok := r.at(k.offset); !ok || at != k || len(r.after(k.offset)) != len(want)-i-1 {
				t.Fatalf("it does not find %d of %d", i, len(want))
			}
		}
		if r.len() != len(want) || r.size != size {
			t.Fatalf("%d messages with %d bytes are %d with %d", len(want), size, r.len(), r.size)
		}
		for _, chunk := range r.texts.all {
			size -= len(chunk)
		}
		if size < -maxChunk {
			t.Fatalf("%d bytes are kept of texts that were removed", -size)
		}
	}
}

// What a replay has made is not kept for long: the bound for memory does not
// count it.
func TestPayloadsOfReplaysAreForgotten(t *testing.T) {
	h, err := New(NewMemory(), Codec[string]{
		Encode:  func(*Message) string { return "x" },
		Text:    func(s string) []byte { return []byte(s) },
		Payload: func(text []byte, _ string) (string, error) { return string(text), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = h.Close() }()
	for range 3 {
		if _, err := h.Publish(t.Context(), Message{App: "app", Channel: "c", Keep: Keep{Messages: 10, Age: time.Hour}}); err != nil {
			t.Fatal(err)
		}
	}
	m := h.Join("app", named{})
	defer m.Close()
	var replayed []string
	if err := m.Subscribe(t.Context(), "c", 1, From{Last: 2}, func(s Standing[string]) { replayed = s.Replayed }); err != nil {
		t.Fatal(err)
	}
	made := func() int {
		c := h.find(name{"app", "c"})
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.ring.replayed)
	}
	if len(replayed) != 2 || made() != 2 {
		t.Fatalf("%q is replayed, and %d payloads are shared", replayed, made())
	}
	if h.sweepHistory(); made() != 0 {
		t.Errorf("%d payloads are kept", made())
	}
}

type named struct{ probe[string] }

func (named) ID() string { return "named" }
