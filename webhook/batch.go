package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/random"
)

// Bounds of a batch.
const (
	maxBatch = 100       // events
	maxBody  = 512 << 10 // bytes; more than the largest event
)

// A batch is the events of one request. It is in the journal before the first
// attempt, and does not change until it was received, so that each attempt, also
// after a restart, has the same ID and body.
type batch struct {
	ID     string    `json:"id"`
	Time   time.Time `json:"time"`           // when it was made
	From   int64     `json:"from"`           // offset of its first event in the journal
	To     int64     `json:"to"`             // offset after the last
	Lost   *lost     `json:"lost,omitempty"` // what was dropped before the first
	Events int       `json:"events"`         // in the body
	Seq    uint64    `json:"seq"`            // of the last event
	Count  uint64    `json:"count"`          // events that those in the body stand for
	Fresh  uint64    `json:"fresh"`          // how many of them are not dropped
}

// next implements source.
func (q *queue) next() (*batch, []byte) {
	q.disk.Lock()
	defer q.disk.Unlock()
	if q.state.Batch == nil {
		if q.state.stored == 0 && q.state.Lost == nil {
			return nil, nil
		}
		b, err := q.choose()
		if err != nil {
			q.damaged(err)
		} else {
			q.state.Batch, q.state.Lost, q.state.Head = b, nil, b.To
		}
		q.save()
		q.publish()
		if err != nil {
			return nil, nil
		}
	}
	body, err := q.body(q.state.Batch)
	if err != nil {
		q.damaged(err)
		q.save()
		q.publish()
		return nil, nil
	}
	return q.state.Batch, body
}

// choose returns a batch of the oldest events. The caller must hold disk.
func (q *queue) choose() (*batch, error) {
	b := &batch{ID: "msg_" + random.Text(24), Time: time.Now(), From: q.state.Head, To: q.state.Head, Lost: q.state.Lost}
	if b.Lost != nil {
		b.Events, b.Seq, b.Count = 1, b.Lost.Seq, b.Lost.Count
	}
	size := 1 << 10 // of what surrounds the events, and of what tells of the lost ones
	err := q.journal.read(q.state.Head, q.journal.end, func(l line) bool {
		if l.kind == stateLine {
			return true // the batch may end before it
		}
		size += len(l.data) + 1
		if b.Events > 0 && size > maxBody {
			return false
		}
		b.Events++
		b.Seq, b.To = l.seq, l.next
		b.Count += l.count()
		if l.kind == eventLine {
			b.Fresh++
		}
		q.state.stored--
		return b.Events < maxBatch
	})
	return b, err
}

// body returns the body of a batch, always the same. The caller must hold disk.
func (q *queue) body(b *batch) ([]byte, error) {
	app, err := json.Marshal(q.hook.Load().App)
	if err != nil {
		return nil, err
	}
	var body bytes.Buffer
	fmt.Fprintf(&body, `{"id":"%s","app":%s,"time":"%s","events":[`, b.ID, app, b.Time.UTC().Format(timeFormat))
	if b.Lost != nil {
		data, err := b.Lost.event().encode(b.Lost.Seq)
		if err != nil {
			return nil, err
		}
		body.Write(data)
		body.WriteByte(',')
	}
	err = q.journal.read(b.From, b.To, func(l line) bool {
		if l.kind != stateLine {
			body.Write(l.data)
			body.WriteByte(',')
		}
		return true
	})
	body.Truncate(body.Len() - 1)
	body.WriteString("]}")
	return body.Bytes(), err
}

// received implements source.
func (q *queue) received() {
	q.disk.Lock()
	defer q.disk.Unlock()
	q.state.Batch = nil
	q.save()
	q.publish()
}

// giveUp implements source.
func (q *queue) giveUp() {
	q.disk.Lock()
	defer q.disk.Unlock()
	b := q.state.Batch
	if b == nil { // it was damaged meanwhile
		return
	}
	if q.state.Lost == nil {
		q.state.Lost = q.state.Lost.add(b.Seq, b.Count)
	} else { // events after the batch are lost too
		q.state.Lost = q.state.Lost.add(q.state.Lost.Seq, b.Count)
	}
	q.drop(b.Fresh)
	q.state.Batch = nil
	q.save()
	q.publish()
}
