package idempotent

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func request(key, body string) Request {
	return Request{App: "app_a", Key: key, Body: DigestOf([]byte(body))}
}

func TestARepetitionGetsTheFirstAnswer(t *testing.T) {
	var m Memory
	claim, answer, err := m.Begin(request("k", "body"))
	if answer != nil || err != nil {
		t.Fatal(answer, err)
	}
	if _, _, err := m.Begin(request("k", "body")); !errors.Is(err, ErrInProgress) {
		t.Fatal(err)
	}
	m.End(claim, []byte("first"))
	for range 2 {
		if _, answer, err = m.Begin(request("k", "body")); string(answer) != "first" || err != nil {
			t.Fatal(answer, err)
		}
	}
	if _, _, err := m.Begin(request("k", "other")); !errors.Is(err, ErrMismatch) {
		t.Fatal(err)
	}
	other := request("k", "body")
	other.App = "app_b"
	if _, answer, err = m.Begin(other); answer != nil || err != nil {
		t.Fatal("apps share keys", answer, err)
	}
}

func TestAnEndedClaimChangesNothing(t *testing.T) {
	var m Memory
	first, _, _ := m.Begin(request("k", "body"))
	m.End(first, nil)
	second, _, err := m.Begin(request("k", "another body"))
	if err != nil {
		t.Fatal("a refused request keeps its key", err)
	}
	m.End(first, []byte("first"))
	m.End(first, nil)
	if _, _, err := m.Begin(request("k", "body")); !errors.Is(err, ErrInProgress) {
		t.Fatal(err)
	}
	m.End(second, []byte("second"))
	m.End(second, nil)
	if _, answer, _ := m.Begin(request("k", "another body")); string(answer) != "second" {
		t.Fatalf("%q", answer)
	}
}

func TestAForgottenAppLeavesNothing(t *testing.T) {
	var m Memory
	answered, _, _ := m.Begin(request("answered", ""))
	m.End(answered, []byte("a"))
	open, _, _ := m.Begin(request("open", ""))
	m.Forget("app_a")
	m.End(open, []byte("late"))
	if len(m.apps) != 0 {
		t.Fatal("its keys are still there")
	}
}

// TestKeysBehaveLikeTheModel compares random requests with a simple definition.
func TestKeysBehaveLikeTheModel(t *testing.T) {
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			m := Memory{maxKeys: 1 + rnd.IntN(10), maxBytes: 3*overhead + rnd.IntN(3000)}
			type known struct {
				body   int
				answer string // "" while it is in progress
				at     time.Time
			}
			model := make(map[int]*known)
			var order []int // keys that were answered, oldest first
			forget := func(i int) {
				delete(model, order[i])
				order = append(order[:i:i], order[i+1:]...)
			}
			open := make(map[int]Claim)
			for step := range 500 {
				for len(order) > 0 && time.Since(model[order[0]].at) >= Lifetime {
					forget(0)
				}
				key, body := rnd.IntN(15), rnd.IntN(8)/7
				switch rnd.IntN(8) {
				case 0:
					time.Sleep(time.Duration(rnd.Int64N(int64(Lifetime))))
				case 1:
					m.Sweep()
				case 2, 3, 4:
					claim, answer, err := m.Begin(request(strconv.Itoa(key), strconv.Itoa(body)))
					k := model[key]
					switch {
					case k == nil:
						if answer != nil || err != nil {
							t.Fatalf("seed %d, step %d: %d is %q, %v", seed, step, key, answer, err)
						}
						model[key], open[key] = &known{body: body}, claim
					case k.answer == "":
						if !errors.Is(err, ErrInProgress) {
							t.Fatalf("seed %d, step %d: %d is in progress: %v", seed, step, key, err)
						}
					case k.body != body:
						if !errors.Is(err, ErrMismatch) {
							t.Fatalf("seed %d, step %d: %d has another body: %v", seed, step, key, err)
						}
					case string(answer) != k.answer || err != nil:
						t.Fatalf("seed %d, step %d: %d is %q, %v, want %q", seed, step, key, answer, err, k.answer)
					}
				default:
					claim, ok := open[key]
					if !ok {
						continue
					}
					delete(open, key)
					if rnd.IntN(4) == 0 {
						m.End(claim, nil)
						delete(model, key)
						continue
					}
					answer := strconv.Itoa(step) + strings.Repeat(".", rnd.IntN(1000))
					m.End(claim, []byte(answer))
					model[key].answer, model[key].at = answer, time.Now()
					order = append(order, key)
					for {
						bytes := 0
						for _, k := range order {
							bytes += len(model[k].answer) + overhead
						}
						if len(order) <= m.maxKeys && bytes <= m.maxBytes {
							break
						}
						forget(0)
					}
				}
			}
			for _, claim := range open {
				m.End(claim, nil)
			}
			time.Sleep(Lifetime)
			m.Sweep()
			if len(m.apps) != 0 {
				t.Fatalf("seed %d: %d apps are left", seed, len(m.apps))
			}
		})
	}
}

func TestOneOfManyCarriesARequestOut(t *testing.T) {
	var m Memory
	var done, replayed, busy atomic.Int64
	var clients sync.WaitGroup
	stop := make(chan struct{})
	var sweeper sync.WaitGroup
	sweeper.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				m.Sweep()
			}
		}
	})
	for range 16 {
		clients.Go(func() {
			for i := range 1000 {
				r := request(strconv.Itoa(i), "body")
				claim, answer, err := m.Begin(r)
				switch {
				case errors.Is(err, ErrInProgress):
					busy.Add(1)
				case err != nil:
					t.Error(err)
				case answer != nil:
					replayed.Add(1)
				default:
					done.Add(1)
					m.End(claim, []byte(r.Key))
				}
			}
		})
	}
	clients.Wait()
	close(stop)
	sweeper.Wait()
	if done.Load() != 1000 || replayed.Load()+busy.Load() != 15_000 {
		t.Fatalf("%d done, %d replayed, %d busy", done.Load(), replayed.Load(), busy.Load())
	}
}

func TestAHundredThousandKeysAreRememberedInBoundedMemory(t *testing.T) {
	var m Memory
	publish := func(i int, answer []byte) {
		claim, _, err := m.Begin(request(strconv.Itoa(i), "body"))
		if err != nil {
			t.Fatal(err)
		}
		m.End(claim, append([]byte(nil), answer...))
	}
	isKnown := func(i int) bool {
		claim, answer, _ := m.Begin(request(strconv.Itoa(i), "body"))
		if answer == nil {
			m.End(claim, nil)
		}
		return answer != nil
	}
	before := heap()
	for i := range MaxKeys + 2 {
		publish(i, []byte(fmt.Sprintf(`{"id":"4fz5pTqMabcdefgh-%d","offset":%d,"subscribers":3}`, i, i)))
	}
	if isKnown(1) || !isKnown(2) || !isKnown(MaxKeys+1) {
		t.Fatal("not the latest 100,000 are known")
	}
	taken := heap() - before
	t.Logf("%d bytes a key", taken/MaxKeys)
	if taken > MaxKeys*(overhead+150) {
		t.Fatalf("%d keys take %d bytes", MaxKeys, taken)
	}
	batch := []byte(strings.Repeat("x", 8000))
	for i := range 20_000 {
		publish(1_000_000+i, batch)
	}
	if taken := heap() - before; taken > maxBytes*5/4 {
		t.Fatalf("batches take %d bytes", taken)
	}
	if !isKnown(1_000_000 + 19_999) {
		t.Fatal("the latest is not known")
	}
	runtime.KeepAlive(&m)
}

func heap() int {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int(s.HeapAlloc)
}

func BenchmarkBeginAndEnd(b *testing.B) {
	var m Memory
	keys := make([]string, 1<<18)
	for i := range keys {
		keys[i] = "8e03978e-40d5-43dd-bc93-" + strconv.Itoa(i)
	}
	body := DigestOf(nil)
	answer := []byte(`{"id":"4fz5pTqMabcdefgh-1","offset":1,"subscribers":3}`)
	var next atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r := Request{App: "app_a", Key: keys[next.Add(1)&(1<<18-1)], Body: body}
			if claim, known, _ := m.Begin(r); known == nil {
				m.End(claim, answer)
			}
		}
	})
}

func BenchmarkReplay(b *testing.B) {
	var m Memory
	r := request("k", "body")
	claim, _, _ := m.Begin(r)
	m.End(claim, []byte("answer"))
	b.ReportAllocs()
	for b.Loop() {
		_, _, _ = m.Begin(r)
	}
}
