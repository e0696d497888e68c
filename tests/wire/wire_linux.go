package wire

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Weather is what happens to packets, in each direction.
type Weather struct {
	// Loss is the share of packets that do not arrive.
	Loss float64

	// Double is the share of packets that arrive twice.
	Double float64

	// Delay is how late packets arrive at least.
	Delay time.Duration

	// Jitter is how much later they may be. As each packet is, they overtake
	// each other.
	Jitter time.Duration
}

// Count is what has happened to packets so far.
type Count struct {
	Passed, Lost, Doubled, Overtaken int64
}

// A Wire carries IP packets between this process's namespace and another.
type Wire struct {
	weather Weather
	ends    [2]*os.File
	silent  atomic.Bool
	running sync.WaitGroup // two directions, and packets that are on their way

	passed, lost, doubled, overtaken atomic.Int64
}

// Join makes a wire: an address here, and another one in the namespace, both
// with the length of their network. Close ends it.
func Join(name string, here netip.Prefix, ns *Namespace, there netip.Prefix, weather Weather) (*Wire, error) {
	w := &Wire{weather: weather}
	var err error
	if w.ends[0], err = openTUN(name, here); err != nil {
		return nil, err
	}
	err = ns.Do(func() (err error) {
		w.ends[1], err = openTUN(name, there)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, w.ends[0].Close())
	}
	w.running.Go(func() { w.carry(w.ends[0], w.ends[1]) })
	w.running.Go(func() { w.carry(w.ends[1], w.ends[0]) })
	return w, nil
}

// Silence cuts the wire, or mends it. Nobody is told.
func (w *Wire) Silence(silent bool) { w.silent.Store(silent) }

// Count says what has happened so far.
func (w *Wire) Count() Count {
	return Count{w.passed.Load(), w.lost.Load(), w.doubled.Load(), w.overtaken.Load()}
}

// Close removes both ends.
func (w *Wire) Close() {
	for _, end := range w.ends {
		_ = end.Close() // who reads or writes sees it
	}
	w.running.Wait()
}

// carry takes packets from one end to the other.
func (w *Wire) carry(from, to *os.File) {
	var latest atomic.Int64 // the number of the latest packet that has arrived
	buffer := make([]byte, 1<<16)
	for number := int64(1); ; number++ {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if w.silent.Load() || rand.Float64() < w.weather.Loss {
			w.lost.Add(1)
			continue
		}
		copies := 1
		if rand.Float64() < w.weather.Double {
			copies = 2
			w.doubled.Add(1)
		}
		packet := append([]byte(nil), buffer[:n]...)
		for range copies {
			w.arrive(packet, number, to, &latest)
		}
	}
}

// arrive has a packet come out in its time.
func (w *Wire) arrive(packet []byte, number int64, to *os.File, latest *atomic.Int64) {
	out := func() {
		_, _ = to.Write(packet) // what the kernel does not take is lost, as anywhere
		w.passed.Add(1)
		if before := latest.Load(); before > number {
			w.overtaken.Add(1)
		} else {
			latest.CompareAndSwap(before, number)
		}
	}
	delay := w.weather.Delay
	if w.weather.Jitter > 0 {
		delay += rand.N(w.weather.Jitter)
	}
	if delay == 0 {
		out()
		return
	}
	w.running.Add(1)
	time.AfterFunc(delay, func() {
		defer w.running.Done()
		out()
	})
}
