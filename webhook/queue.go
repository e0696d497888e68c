package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// A queue holds the events of a hook: first in memory, where Emit puts them, then
// in its journal, where the manager's writer moves them, then in the batch that its
// sender sends until it is received.
//
// Every event that the hook wants gets the next number. If events are dropped, a
// dropped event stands in their place: count is how many, and it has the number of
// the last of them. So a receiver knows how much is missing, and where.
type queue struct {
	manager *Manager
	hook    atomic.Pointer[Hook]
	poke    chan struct{} // wakes the sender: there are more events, or the hook has changed
	source  source
	remote  *remote // the source if machines share the facts; then there is no journal

	mu      sync.Mutex // guards the fields below; never held during I/O
	pending []Event
	bytes   int    // of pending
	lost    uint64 // events after pending that found no room
	dirty   bool   // the writer knows that there is something pending
	stored  int    // events in the journal
	since   time.Time
	batched bool // a batch is to be sent
	sender  *sender
	stopped bool // the manager is closing, or the hook was removed
	gone    bool // the receiver answered 410
	status  status

	// disk guards the fields below, and is held during I/O. It is locked before
	// mu if both are.
	disk     sync.Mutex
	journal  journal
	state    state
	unsaved  uint64 // numbers from state.Next on that were dropped and are not in the journal yet
	failing  bool   // the journal could not be written; logged once
	removed  bool
	warned   bool // of an event that cannot be sent
	unsynced bool // state in memory is newer than in the journal
}

// A sender is the goroutine that sends a queue's batches, while there are any.
type sender struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// state is what a queue knows of its journal.
type state struct {
	Next    uint64 `json:"next"`              // number of the next event
	Head    int64  `json:"head"`              // offset of the first event after the batch
	Lost    *lost  `json:"lost,omitempty"`    // what was dropped before that event
	Dropped uint64 `json:"dropped,omitempty"` // in total
	Batch   *batch `json:"batch,omitempty"`   // nil if none is being sent

	stored int // events from Head on
}

// lost are events that were dropped after they had been numbered.
type lost struct {
	Count uint64    `json:"count"`
	Seq   uint64    `json:"seq"` // of the last of them
	Time  time.Time `json:"time"`
}

// add returns l with more lost events, later ones. l can be nil.
func (l *lost) add(seq, count uint64) *lost {
	sum := &lost{Count: count, Seq: seq, Time: time.Now()}
	if l != nil {
		sum.Count += l.Count
	}
	return sum
}

// event returns the event that tells the receiver.
func (l *lost) event() *Event { return &Event{Type: Dropped, Time: l.Time, Count: l.Count} }

// Bounds of what Emit leaves in memory until it is written, which takes
// milliseconds unless the disk hangs.
const (
	maxPending      = 4096
	maxPendingBytes = 2 << 20
	maxMemory       = 64 << 20 // of all hooks
)

// add appends an event to pending, or counts it as lost.
func (q *queue) add(e Event) {
	size := e.size()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopped {
		return
	}
	switch {
	case q.lost > 0, len(q.pending) >= maxPending, q.bytes+size > maxPendingBytes && len(q.pending) > 0,
		q.manager.memory.Load()+int64(size) > maxMemory:
		q.lost++
	default:
		q.pending = append(q.pending, e)
		q.bytes += size
		q.manager.memory.Add(int64(size))
	}
	if !q.dirty {
		q.dirty = true
		q.manager.writer.add(q)
	}
}

// take removes and returns what is pending.
func (q *queue) take() (events []Event, lost uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	events, lost = q.pending, q.lost
	q.manager.memory.Add(-int64(q.bytes))
	q.pending, q.bytes, q.lost, q.dirty = nil, 0, 0, false
	return events, lost
}

// flush moves what is pending to the journal.
func (q *queue) flush() {
	q.disk.Lock()
	defer q.disk.Unlock()
	events, missing := q.take()
	if q.removed {
		return
	}
	next, stored, dropped := q.state.Next, 0, missing
	var lines []byte
	tell := func(count uint64) { // that so many are dropped
		if count == 0 {
			return
		}
		next += count
		data, _ := (&Event{Type: Dropped, Time: time.Now(), Count: count}).encode(next - 1) // has no foreign JSON that could be invalid
		lines = appendLine(lines, droppedLine, next-1, data)
		stored++
	}
	tell(q.unsaved)
	for i := range events {
		data, err := events[i].encode(next)
		if err != nil {
			if !q.warned {
				q.warned = true
				q.log().Warn("an event of a webhook is dropped because it cannot be sent; further ones are only counted",
					zap.String("type", events[i].Type), zap.Error(err))
			}
			dropped++
			tell(1)
			continue
		}
		lines = appendLine(lines, eventLine, next, data)
		next++
		stored++
	}
	tell(missing)
	if stored == 0 {
		return
	}
	if err := q.journal.write(lines); err != nil {
		q.report(err)
		q.unsaved = next - q.state.Next
		q.drop(uint64(len(events)) + missing)
		return
	}
	q.report(nil)
	q.unsaved = 0
	q.state.Next = next
	q.state.stored += stored
	q.drop(dropped)
	q.trim()
	q.publish()
}

// drop counts dropped events. The caller must hold disk.
func (q *queue) drop(n uint64) {
	q.state.Dropped += n
	q.manager.dropped.Add(n)
}

// trim drops the oldest events after the batch if there are too many. The caller
// must hold disk.
func (q *queue) trim() {
	limit := q.manager.limits
	if q.state.stored <= limit.events && q.journal.end-q.state.Head <= limit.bytes {
		return
	}
	err := q.journal.read(q.state.Head, q.journal.end, func(l line) bool {
		if l.kind != stateLine {
			if l.kind == eventLine {
				q.drop(1)
			}
			q.state.Lost = q.state.Lost.add(l.seq, l.count())
			q.state.stored--
		}
		q.state.Head = l.next
		return q.state.stored > limit.events || q.journal.end-l.next > limit.bytes
	})
	if err != nil {
		q.damaged(err)
	}
	q.save()
}

// save appends the state to the journal, or writes a shorter journal. If that
// fails, the queue continues with the state in memory; after a kill, events are
// sent again. The caller must hold disk.
func (q *queue) save() {
	batched, rest := span{}, span{q.state.Head, q.journal.end}
	if b := q.state.Batch; b != nil {
		batched = span{b.From, b.To}
	}
	const least = 64 << 10
	used := batched.size() + rest.size()
	if unused := q.journal.end - used; unused > max(used, least) {
		moved := q.state
		moved.Head = batched.size()
		if q.state.Batch != nil {
			b := *q.state.Batch
			b.From, b.To = 0, batched.size()
			moved.Batch = &b
		}
		if err := q.journal.compact(batched, rest, moved.line()); err == nil {
			q.state, q.unsynced = moved, false
			return
		}
	}
	err := q.journal.write(q.state.line())
	q.unsynced = err != nil
	q.report(err)
}

func (s *state) line() []byte {
	data, _ := json.Marshal(s) // numbers and times
	return appendLine(nil, stateLine, 0, data)
}

// publish tells Emit's side of the queue what is on disk, and starts or wakes the
// sender. The caller must hold disk.
func (q *queue) publish() {
	stored, batched := q.state.stored, q.state.Batch != nil
	if q.state.Lost != nil {
		stored++
	}
	if batched {
		stored += q.state.Batch.Events
	}
	q.mu.Lock()
	switch {
	case stored == 0:
		q.since = time.Time{}
	case q.since.IsZero():
		q.since = time.Now()
	}
	q.manager.waiting.Add(int64(stored - q.stored))
	q.stored, q.batched = stored, batched
	q.mu.Unlock()
	q.start()
}

// report logs that the journal cannot be written, and that it can again, once. The
// caller must hold disk.
func (q *queue) report(err error) {
	switch {
	case err != nil && !q.failing:
		q.log().Error("the queue of a webhook cannot be written; its events are dropped until it can", zap.Error(err))
	case err == nil && q.failing:
		q.log().Info("the queue of a webhook can be written again")
	}
	q.failing = err != nil
}

// damaged drops everything in the journal, of which a part cannot be read. The
// caller must hold disk.
func (q *queue) damaged(err error) {
	q.log().Error("the queue of a webhook is damaged; its events are dropped", zap.Error(err))
	count := uint64(q.state.stored)
	if q.state.Batch != nil {
		count += uint64(q.state.Batch.Events)
	}
	q.drop(count)
	q.state.Lost = q.state.Lost.add(q.state.Next-1, count)
	q.state.Batch, q.state.stored, q.state.Head = nil, 0, q.journal.end
}

// load reads the journal. known is false if there is none, or if it is not complete.
func (q *queue) load() (known bool, err error) {
	q.disk.Lock()
	defer q.disk.Unlock()
	q.state.Next = 1
	damaged, err := q.journal.open(func(l line) bool {
		if l.kind == stateLine {
			stored := q.state.stored
			last := q.state
			q.state = state{}
			if json.Unmarshal(l.data, &q.state) != nil || q.state.Next == 0 {
				q.state = last
				return false
			}
			q.state.stored = stored
			known = true
			return true
		}
		q.state.Next = l.seq + 1
		q.state.stored++
		known = true
		return true
	})
	if err != nil {
		return known, fmt.Errorf("the queue of the webhook %s: %w", q.hook.Load().ID, err)
	}
	if damaged {
		q.log().Warn("the end of a webhook's queue was damaged and has been cut off")
		known = false
	}
	// The states count nothing, so that a flush writes events only.
	q.state.stored = 0
	return known, q.journal.read(q.state.Head, q.journal.end, func(l line) bool {
		if l.kind != stateLine {
			q.state.stored++
		}
		return true
	})
}

func (q *queue) log() *zap.Logger {
	hook := q.hook.Load()
	return q.manager.log.With(zap.String("hook", hook.ID), zap.String("app", hook.App))
}
