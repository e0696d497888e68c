package redis

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/redis/rueidis"
	"github.com/seed-c079cc48/caddy-realtime/hub"
)

const (
	// firstWindow and maxWindow bound the messages that are read at once, because an
	// offset is that of one message. It is fewer after a window of more than maxRead bytes,
	// or one that could not be read in time, and more after a small one.
	firstWindow = 16
	maxWindow   = 10_000
	maxRead     = 8 << 20

	// readChunk bounds the subscriptions that are asked about in one round trip.
	readChunk = 500
)

// found is a message to deliver while an app catches up.
type found struct {
	sub *subscription
	envelope
}

// catchUp delivers what the streams have after the last message that was delivered, and
// what was received meanwhile. What comes after that is in the queue.
func (a *app) catchUp() error {
	ctx := a.broker.ctx
	to, err := a.standing(ctx)
	if err != nil {
		return err
	}
	a.broker.measures.gaps.Add(1)
	received := a.takeUntil(to)
	var old []item
	old, received = splitOld(received, to.Epoch)
	a.finish(old)
	if to.Epoch == "" {
		return nil
	}
	a.mu.Lock()
	moved := a.moveTo(to.Epoch)
	a.mu.Unlock()
	a.announce(moved, to.Epoch)
	subs, after := a.unread(to)
	var latest []uint64
	if after < to.Offset {
		if latest, err = a.readLatest(ctx, subs, to.Epoch); err != nil {
			a.putBack(received)
			return err
		}
	}
	for low := after; low < to.Offset; {
		high := min(low+a.window, to.Offset)
		all, err := a.read(ctx, withMessages(subs, latest, low), to.Epoch, low, high)
		a.resize(all, err)
		if err != nil {
			a.putBack(received)
			return err
		}
		all, received = merge(all, received, to.Epoch, high)
		for i := range all {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			a.broker.measures.filled.Add(1)
			a.deliver(all[i].sub, &all[i].envelope, false)
		}
		low = high
	}
	if latest != nil {
		a.tellUnsaid(subs, latest, to)
	}
	a.finish(received)
	a.pass(to)
	return nil
}

// resize chooses how many messages are read next. Those that cannot be read in time are
// fewer at each attempt, so that a slow connection is enough.
func (a *app) resize(read []found, err error) {
	bytes := 0
	for i := range read {
		bytes += len(read[i].body)
	}
	switch {
	case err != nil || bytes > maxRead:
		a.window = max(1, a.window/4)
	case bytes < maxRead/4:
		a.window = min(4*a.window, maxWindow)
	}
}

// withMessages returns the channels that may have messages after an offset, by the
// offsets of their latest ones.
func withMessages(subs []*subscription, latest []uint64, low uint64) (some []*subscription) {
	for i, s := range subs {
		if latest[i] == 0 || latest[i] > low {
			some = append(some, s)
		}
	}
	return some
}

// pass notes that there is nothing left to deliver up to a position.
func (a *app) pass(to hub.Position) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if to.Offset > offsetIn(to.Epoch, a.at) && a.at.Epoch == to.Epoch {
		a.at = to
	}
}

// standing returns where the app stands. All messages up to there have been received,
// as far as they were published since the connection began. If it is before what was
// delivered, or in an epoch that has ended, a failover lost writes, and a new epoch
// begins.
func (a *app) standing(ctx context.Context) (hub.Position, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	for {
		conn, err := a.broker.lane(a.id).await(ctx)
		if err != nil {
			return hub.Position{}, err
		}
		known := a.lastKnown() // before Redis is asked, so that its answer is not older
		to, err := positionIn(conn.Do(ctx, a.position(conn)))
		if err != nil {
			return to, err
		}
		if to.Offset >= offsetIn(to.Epoch, known) && (to.Epoch != "" || known.Epoch == "") && !a.hasLeft(to.Epoch) {
			return to, nil
		}
		if err := a.beginEpoch(ctx); err != nil {
			return to, err
		}
	}
}

// takeUntil takes the received messages up to a position out of the queue. What clients
// send each other remains, because it has no position.
func (a *app) takeUntil(to hub.Position) []item {
	a.mu.Lock()
	defer a.mu.Unlock()
	var taken, relayed []item
	n := 0
	for ; n < len(a.queue); n++ {
		i := &a.queue[n]
		if isRelayed(i.text) {
			relayed = append(relayed, *i)
			continue
		}
		if i.fill == nil && !isNotice(i.text) { // all members are read afterwards
			e, err := readHeader(i.text)
			if err == nil && (e.Epoch != to.Epoch && e.Epoch != a.at.Epoch || e.Epoch == to.Epoch && e.Offset > to.Offset) {
				break
			}
			taken = append(taken, *i)
		}
		a.bytes -= i.size()
	}
	cancelFills(a.queue[:n])
	a.queue = append(relayed, a.queue[n:]...)
	return taken
}

// splitOld separates the messages of an epoch that has ended from those of the one that
// goes on.
func splitOld(all []item, epoch string) (old, rest []item) {
	n := slices.IndexFunc(all, func(i item) bool {
		e, err := readHeader(i.text)
		return err == nil && e.Epoch == epoch
	})
	if n < 0 {
		return all, nil
	}
	return all[:n], all[n:]
}

// finish delivers what was received and has no place among what was read.
func (a *app) finish(rest []item) {
	for _, i := range rest {
		e, err := readHeader(i.text)
		if err != nil {
			a.unreadable(err)
			continue
		}
		a.deliver(i.sub, &e, false)
	}
}

// unread returns the subscriptions of which there may be messages that were not
// delivered, and the offset after which they are.
func (a *app) unread(to hub.Position) (subs []*subscription, after uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.subs {
		if s.filled {
			subs = append(subs, s)
		}
	}
	if len(subs) == 0 {
		return nil, to.Offset
	}
	return subs, offsetIn(to.Epoch, a.at)
}

// read returns the messages of the streams with offsets above low, up to high.
func (a *app) read(ctx context.Context, subs []*subscription, epoch string, low, high uint64) (all []found, err error) {
	c := a.broker.client
	err = a.readEach(ctx, subs, func(s *subscription) rueidis.Completed {
		first := max(low, offsetIn(epoch, s.since)) + 1
		return c.B().Xrange().Key(a.streamKey(epoch, s.channel)).Start(strconv.FormatUint(first, 10)).End(strconv.FormatUint(high, 10)).Build()
	}, func(s *subscription, answer rueidis.RedisResult) error {
		entries, err := answer.AsXRange()
		for _, entry := range entries {
			e, failed := readHeader(entry.FieldValues["m"])
			if failed != nil {
				a.unreadable(failed)
				continue
			}
			all = append(all, found{s, e})
		}
		return err
	})
	return all, err
}

// readEach has a command of each subscription answered, and read.
func (a *app) readEach(ctx context.Context, subs []*subscription, command func(*subscription) rueidis.Completed, read func(*subscription, rueidis.RedisResult) error) (err error) {
	for chunk := range slices.Chunk(subs, readChunk) {
		ctx, cancel := context.WithTimeout(ctx, requestTimeout)
		commands := make([]rueidis.Completed, len(chunk))
		for i, s := range chunk {
			commands[i] = command(s)
		}
		for i, answer := range a.broker.client.DoMulti(ctx, commands...) {
			err = errors.Join(err, read(chunk[i], answer))
		}
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// merge adds the received messages up to an offset, and sorts all. It returns those
// that were received after that, too.
func merge(all []found, received []item, epoch string, high uint64) ([]found, []item) {
	for len(received) > 0 {
		e, err := readHeader(received[0].text)
		if err == nil && e.Epoch == epoch {
			if e.Offset > high {
				break
			}
			all = append(all, found{received[0].sub, e})
		}
		received = received[1:]
	}
	slices.SortStableFunc(all, func(a, b found) int { return cmp.Compare(a.Offset, b.Offset) })
	return all, received
}
