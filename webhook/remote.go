package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/random"
)

// pageSize is how many facts are read at a time.
const pageSize = 200

// storeTimeout bounds the calls of Shared before a request.
const storeTimeout = 5 * time.Second

// A remote is where a queue's batches come from if machines share the facts. It reads
// them when a batch is to be made, so what waits takes no memory here. A batch is in
// Shared with its body before the first attempt: after a takeover, the next sender
// repeats it, and goes on behind it with the next number.
type remote struct {
	queue *queue
	lead  atomic.Pointer[lead]

	mu      sync.Mutex // guards everything below; held during calls of Shared; locked before the queue's mu
	taken   bool       // the record was read in this lease
	epoch   string     // of the lease
	record  record
	replay  *replay
	unsaved bool // the record in Shared is older
	more    bool // a batch may be made: the last one was full, or some time has passed
}

// recordFormat is the newest version of a record. Increase it for anything that an older
// version would not understand.
const recordFormat = 1

// A record is what is kept of a hook in Shared.
type record struct {
	V       int     `json:"v,omitempty"`       // its format; 0 is 1
	Next    uint64  `json:"next"`              // number of the next event
	From    FactID  `json:"from"`              // reading begins after this fact,
	Index   uint64  `json:"index"`             // how many there are up to it,
	Sent    FactID  `json:"sent"`              // and which of them are not sent again
	Off     *FactID `json:"off,omitempty"`     // the last fact before the hook was disabled
	Reset   bool    `json:"reset,omitempty"`   // StateReset is to be sent
	Lost    *lost   `json:"lost,omitempty"`    // what was dropped before
	Dropped uint64  `json:"dropped,omitempty"` // in total
	Batch   *batch  `json:"batch,omitempty"`   // the one that is being sent
	Body    []byte  `json:"body,omitempty"`    // of it
}

// newHookTime is how much older than the first sender of its app a hook can be that has
// no record because it is new.
const newHookTime = time.Minute

// newHookAge is how long a hook may wait for a sender that reads it, which looks for new
// ones each time it renews its lease.
const newHookAge = senderLease / leadParts

// take reads the record after this machine has become the sender.
func (r *remote) take(text string, a *Leader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	hook := r.queue.hook.Load()
	r.taken, r.unsaved, r.more, r.record = true, false, true, record{}
	r.epoch = a.Epoch
	err := json.Unmarshal([]byte(text), &r.record)
	foreign := text != "" && (err != nil || r.record.V > recordFormat)
	if foreign {
		r.queue.log().Error("the position of a webhook is unreadable, and its receiver is told state.reset; all machines need the same version of the gateway", zap.Error(err))
	}
	if foreign || r.record.Next == 0 {
		r.unsaved = true
		// The clock of the machine that made the hook can be ahead: what has happened since
		// must not be left out.
		from := hook.Created
		if from.After(a.Now) {
			from = a.Now.Add(-newHookAge)
		}
		r.record = record{Next: 1, From: FactID{Milli: uint64(max(0, from.UnixMilli()))}}
		if foreign || hook.Created.Before(a.Since.Add(-newHookTime)) {
			// Numbers that were used are not known, so they continue at one that no
			// queue reaches by counting.
			r.record = record{Next: uint64(a.Now.UnixMicro()), From: a.Last, Reset: true}
		}
		r.record.Index = UnknownIndex
		r.record.Sent = r.record.From
	}
	r.record.V = recordFormat
	r.replay = &replay{hook: hook.ID, wait: r.queue.manager.debounce, read: r.record.From, count: r.record.Index, sent: r.record.Sent}
}

// look starts the sender if there may be something to send. a is the answer to the lease.
func (r *remote) look(a *Leader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.taken {
		return
	}
	if !r.queue.hook.Load().Enabled {
		if r.record.Off == nil {
			last := a.Last
			r.record.Off, r.unsaved = &last, true
		}
		if r.unsaved {
			_ = r.save() // said there
		}
		r.publish(0)
		return
	}
	r.more = true
	waiting := r.behind(a.Added)
	if r.record.Batch != nil {
		waiting += r.record.Batch.Events
	}
	if waiting == 0 && (r.record.Reset || r.record.Lost != nil || r.record.Off != nil || r.due(a.Now)) {
		waiting = 1
	}
	r.publish(waiting)
}

// behind returns how many facts are yet to be read of those that there are. The caller
// holds mu.
func (r *remote) behind(added uint64) int {
	const most = 1 << 30 // far more than are kept
	switch read := r.replay.count; {
	case read == UnknownIndex:
		return 1
	case read < added:
		return int(min(added-read, most))
	}
	return 0
}

// due reports whether something has waited long enough. The caller holds mu.
func (r *remote) due(now time.Time) bool {
	return len(r.replay.held) > 0 && !r.replay.held[0].ID.Time().Add(r.replay.wait).After(now)
}

// publish tells the sender how much there is, and starts it. The caller holds mu.
func (r *remote) publish(waiting int) {
	q := r.queue
	q.mu.Lock()
	q.manager.waiting.Add(int64(waiting - q.stored))
	q.stored, q.batched = waiting, waiting > 0 // it does not wait for more: look is called once in the time of a batch
	q.mu.Unlock()
	q.start()
}

// next implements source.
func (r *remote) next() (*batch, []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.taken || !r.lead.Load().holds() {
		r.publish(0)
		return nil, nil
	}
	if r.record.Batch == nil && r.more {
		if err := r.choose(); err != nil {
			r.report(err)
			r.publish(0)
			return nil, nil
		}
	}
	if r.unsaved && r.save() != nil || r.record.Batch == nil {
		r.publish(0)
		return nil, nil
	}
	return r.record.Batch, r.record.Body
}

// choose makes the next batch, if there is something to send. The caller holds mu.
func (r *remote) choose() error {
	hook := r.queue.hook.Load()
	r.replay.wish = wish{types: hook.types(), prefix: hook.Prefix}
	w := newBatchWriter(r.queue, r.record.Next, r.record.Lost)
	if r.record.Reset {
		w.add(&Event{Type: StateReset, Time: time.Now()})
	}
	full, end := false, false
	for !full && !end {
		page, err := r.read(w)
		if err != nil && w.batch.Events == 0 {
			return err
		}
		if err != nil {
			r.report(err)
			break
		}
		full, end = r.replayPage(page, w)
	}
	r.record.Reset = false
	if end && !full && r.record.Off != nil {
		r.skip(w)
	}
	r.finish(w, full)
	return nil
}

// replayPage makes events of a page. It returns whether the batch is full, and whether
// there is nothing after the page. The caller holds mu.
func (r *remote) replayPage(page Page, w *batchWriter) (full, end bool) {
	for _, f := range page.Facts {
		if off := r.record.Off; off != nil && f.ID.Compare(*off) > 0 {
			return false, true
		}
		f.Event.App, f.Event.Time = r.queue.hook.Load().App, f.ID.Time()
		if !r.replay.add(f, w.add) {
			return true, false
		}
	}
	if len(page.Facts) > 0 {
		return false, false
	}
	return !r.replay.pass(page.Now, w.add), true
}

// skip leaves out what has happened since the hook was disabled. The caller holds mu.
func (r *remote) skip(w *batchWriter) {
	ctx, cancel := context.WithTimeout(r.queue.manager.requests, storeTimeout)
	defer cancel()
	at, err := r.lead.Load().look(ctx)
	if err != nil {
		r.report(err) // the next batch does it
		return
	}
	r.replay.held, r.replay.read, r.replay.count = nil, at.Last, at.Added
	r.record.Off = nil
	r.record.Reset = !w.add(&Event{Type: StateReset, Time: time.Now()})
}

// read reads the next page, and tells of facts that are no longer there. The caller
// holds mu.
func (r *remote) read(w *batchWriter) (Page, error) {
	ctx, cancel := context.WithTimeout(r.queue.manager.requests, storeTimeout)
	defer cancel()
	page, err := r.lead.Load().shared.ReadFacts(ctx, r.lead.Load().app, r.replay.read, r.replay.count, pageSize)
	if err != nil {
		return page, err
	}
	if known := r.replay.count; known != UnknownIndex && page.Index > known { // those in between were trimmed
		r.replay.held = nil
		r.drop(page.Index - known)
		w.lose(page.Index - known)
	}
	r.replay.count = page.Index
	return page, nil
}

// finish makes a batch of what was written, and moves the position behind it. The caller
// holds mu.
func (r *remote) finish(w *batchWriter, full bool) {
	r.more = full
	r.record.From, r.record.Index = r.replay.start()
	r.record.Sent = r.replay.read
	r.unsaved = true
	r.drop(w.dropped)
	r.record.Next = w.next
	if w.batch.Events > 0 {
		b, body := w.end()
		r.record.Batch, r.record.Body, r.record.Lost = &b, body, nil
	}
}

// save keeps the record in Shared. The caller holds mu.
func (r *remote) save() error {
	text, err := json.Marshal(&r.record)
	if err == nil {
		ctx, cancel := context.WithTimeout(r.queue.manager.requests, storeTimeout)
		defer cancel()
		err = r.lead.Load().save(ctx, r.epoch, r.queue.hook.Load().ID, string(text))
	}
	r.unsaved = err != nil
	if errors.Is(err, ErrFenced) {
		r.taken = false
	}
	r.report(err)
	return err
}

// report logs that Shared is away, and that it is back, once. The caller holds mu.
func (r *remote) report(err error) {
	q := r.queue
	switch {
	case errors.Is(err, ErrFenced), errors.Is(err, context.Canceled):
	case err != nil && !q.failing:
		q.failing = true
		q.log().Warn("a webhook waits: its position cannot be read or written", zap.Error(err))
	case err == nil && q.failing:
		q.failing = false
		q.log().Info("a webhook goes on: its position can be written again")
	}
}

// received implements source.
func (r *remote) received() { r.end(func() {}) }

// giveUp implements source.
func (r *remote) giveUp() {
	r.end(func() {
		b := r.record.Batch
		r.record.Lost = r.record.Lost.add(b.Seq, b.Count)
		r.drop(b.Fresh)
	})
}

// end removes the batch, unless another machine sends meanwhile, after do.
func (r *remote) end(do func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.taken || r.record.Batch == nil {
		return
	}
	do()
	r.record.Batch, r.record.Body, r.unsaved = nil, nil, true
	_ = r.save() // it is saved with the next batch
	waiting := 0
	if r.more {
		waiting = max(1, r.behind(r.lead.Load().added()))
	}
	r.publish(waiting)
}

// drop counts dropped events. The caller holds mu.
func (r *remote) drop(n uint64) {
	r.record.Dropped += n
	r.queue.manager.dropped.Add(n)
}

// publishNone says that there is nothing to send.
func (r *remote) publishNone() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.publish(0)
}

// isTaken reports whether the record was read.
func (r *remote) isTaken() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.taken
}

// remove deletes the record.
func (r *remote) remove(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.taken {
		return nil // the sender does it
	}
	r.taken = false
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	err := r.lead.Load().save(ctx, r.epoch, r.queue.hook.Load().ID, "")
	if errors.Is(err, ErrFenced) { // the app is deleted, or another sender does it
		return nil
	}
	return err
}

// release forgets the record: this machine is not the sender any longer.
func (r *remote) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taken && r.unsaved {
		_ = r.save() // the next sender repeats more otherwise
	}
	r.taken, r.replay, r.record = false, nil, record{}
	r.publish(0)
}

// A batchWriter writes the body of a batch.
type batchWriter struct {
	queue   *queue
	batch   batch
	body    bytes.Buffer
	next    uint64 // number of the next event
	dropped uint64 // events that cannot be sent
}

// newBatchWriter begins a batch whose first event has the number next, after what was
// dropped before it.
func newBatchWriter(q *queue, next uint64, before *lost) *batchWriter {
	w := &batchWriter{queue: q, batch: batch{ID: "msg_" + random.Text(24), Time: time.Now(), Lost: before}, next: next}
	name, _ := json.Marshal(q.hook.Load().App) // a string
	fmt.Fprintf(&w.body, `{"id":"%s","app":%s,"time":"%s","events":[`, w.batch.ID, name, w.batch.Time.UTC().Format(timeFormat))
	if before != nil {
		w.batch.Count = before.Count
		w.write(before.event(), before.Seq)
	}
	return w
}

// write appends an event. Its size is not checked.
func (w *batchWriter) write(e *Event, seq uint64) {
	data, err := e.encode(seq)
	if err == nil {
		w.append(data, seq)
	}
}

func (w *batchWriter) append(data []byte, seq uint64) {
	w.body.Write(data)
	w.body.WriteByte(',')
	w.batch.Events++
	w.batch.Seq = seq
}

// add appends an event with the next number. It returns false if there is no room.
func (w *batchWriter) add(e *Event) bool {
	if w.batch.Events >= maxBatch {
		return false
	}
	data, err := e.encode(w.next)
	if err != nil {
		w.queue.log().Warn("an event of a webhook is dropped because it cannot be sent", zap.String("type", e.Type), zap.Error(err))
		w.dropped++
		w.lose(1)
		return true
	}
	if w.batch.Events > 0 && w.body.Len()+len(data) > maxBody {
		return false
	}
	w.append(data, w.next)
	w.batch.Count++
	w.batch.Fresh++
	w.next++
	return true
}

// lose appends that events are dropped.
func (w *batchWriter) lose(count uint64) {
	w.next += count
	w.batch.Count += count
	w.write(&Event{Type: Dropped, Time: time.Now(), Count: count}, w.next-1)
}

// end returns the batch and its body.
func (w *batchWriter) end() (batch, []byte) {
	w.body.Truncate(w.body.Len() - 1)
	w.body.WriteString("]}")
	return w.batch, w.body.Bytes()
}
