package load

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Work is what publishers do to a crowd.
type Work struct {
	Publishers int
	Payload    int // bytes of JSON
	Channels   int
	Apps       int // channel i is of app i modulo Apps, as is publisher i; 0 is 1
	Batch      int // messages of a request, to one channel after the other; 0 is 1
	Duration   time.Duration

	// Interval paces a publisher that is alone: zero sends the next message
	// when all have the one before, so that nothing ever queues; more is the
	// time from one to the next. Several publishers each send the next as soon
	// as the answer to the one before is there.
	Interval time.Duration

	// Beside is a server that a lone publisher sends each message to as well,
	// after the other has delivered it; nil is none. Nobody subscribes there.
	Beside *Target
}

// Outcome is what came of it.
type Outcome struct {
	Publishes, Deliveries, Lost int64         // publishes are messages
	Elapsed                     time.Duration // from the first publish to the last delivery
	CPU                         time.Duration // of the server, meanwhile
	Latencies                   []int64       // ns of the sampled sockets, in order of size
}

// Do runs the work. cpu is the CPU time that the server has used so far. A
// crowd of nobody measures the publishing alone.
func Do(t *Target, crowd *Crowd, w Work, cpu func() (time.Duration, error)) (Outcome, error) {
	crowd.begin(w.Payload)
	publishers := make([]*publisher, w.Publishers)
	for i := range publishers {
		p, err := newPublisher(t.of(i, w.Apps), w.Payload, max(w.Batch, 1))
		if err != nil {
			return Outcome{}, err
		}
		defer p.close()
		publishers[i] = p
	}
	var beside *publisher
	if w.Beside != nil {
		p, err := newPublisher(w.Beside, w.Payload, max(w.Batch, 1))
		if err != nil {
			return Outcome{}, err
		}
		defer p.close()
		beside = p
	}
	before, err := cpu()
	if err != nil {
		return Outcome{}, err
	}
	start := now()
	var publishes int64
	if w.Publishers == 1 {
		publishes, err = alone(publishers[0], beside, crowd, w)
	} else {
		publishes, err = together(publishers, crowd, w)
	}
	if err != nil {
		return Outcome{}, err
	}
	expected := publishes * int64(crowd.Size()/w.Channels)
	crowd.expect(expected)
	end := crowd.await()
	after, err := cpu()
	return Outcome{
		Publishes:  publishes,
		Deliveries: crowd.received.Load(),
		Lost:       expected - crowd.received.Load(),
		Elapsed:    time.Duration(end - start),
		CPU:        after - before,
		Latencies:  crowd.latencies(),
	}, err
}

func alone(p, beside *publisher, crowd *Crowd, w Work) (publishes int64, err error) {
	each := int64(crowd.Size() / w.Channels)
	start := time.Now()
	for time.Since(start) < w.Duration {
		crowd.expect((publishes + int64(p.batch())) * each)
		if err := p.publish(int(publishes), w.Channels); err != nil {
			return publishes, err
		}
		publishes += int64(p.batch())
		if w.Interval == 0 {
			crowd.await()
		} else {
			time.Sleep(time.Until(start.Add(time.Duration(publishes) * w.Interval)))
		}
		if beside != nil {
			if err := beside.publish(int(publishes), w.Channels); err != nil {
				return publishes, err
			}
		}
	}
	return publishes, nil
}

// together stops early if the server has cut off a subscriber: then it is known
// that it loses messages, and the rest would be easier than the work.
func together(publishers []*publisher, crowd *Crowd, w Work) (int64, error) {
	var publishes atomic.Int64
	failures := make([]error, len(publishers))
	start := time.Now()
	var wg sync.WaitGroup
	for i, p := range publishers {
		wg.Go(func() {
			for n := i; time.Since(start) < w.Duration && crowd.Dropped() == 0; n += len(publishers) {
				if failures[i] = p.publish(n*p.batch(), w.Channels); failures[i] != nil {
					return
				}
				publishes.Add(int64(p.batch()))
			}
		})
	}
	wg.Wait()
	return publishes.Load(), errors.Join(failures...)
}
