package redis

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/redis/rueidis"
	"github.com/seed-c079cc48/caddy-realtime/hub"
)

//go:embed fill.lua
var fillSource string

var fillScript = rueidis.NewLuaScript(fillSource)

const (
	// maxEarly and maxEarlyBytes bound what waits for a channel's history: its messages, and
	// changes of its members.
	maxEarly      = 10_000
	maxEarlyBytes = 32 << 20

	// maxPast bounds the part of a channel's history that is read, in bytes. What is older
	// counts as expired.
	maxPast = 8 << 20
)

// A pastRead is a size of the part of a history that is read, and how many of that size are
// read at once. Redis answers nobody else while it reads one, nor between those that have
// arrived together.
type pastRead struct {
	most  int           // bytes
	slots chan struct{} // nil without a bound
}

// pastReads returns the sizes from the smallest on; each is tried if the one before is not
// enough.
func pastReads() []pastRead {
	return []pastRead{{16 << 10, nil}, {256 << 10, make(chan struct{}, 8)}, {maxPast, make(chan struct{}, 2)}}
}

// A filling is the history of a channel up to a position, on its way to the hub. One of
// no channel is the position alone.
type filling struct {
	at     hub.Position
	floor  uint64 // everything after it is in past
	past   []hub.Filled
	roster *roster   // the members, if the channel has them
	done   chan bool // gets false if it must be read again

	known  hub.Position // of the app, before Redis was asked
	breaks uint64       // likewise
}

// expectFill begins a filling. The messages of the channel, if there is one, wait for it.
func (a *app) expectFill(s *subscription) *filling {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s != nil {
		s.early, s.news, s.earlyBytes = nil, nil, 0
	}
	return &filling{done: make(chan bool, 1), known: a.known, breaks: a.breaks}
}

// fill gives the hub the history of a channel that is subscribed to, or only where the
// app stands. It returns false without an error if that must be tried again.
func (a *app) fill(ctx context.Context, s *subscription, f *filling) (done bool, err error) {
	if f.at.Epoch == "" || f.at.Offset < offsetIn(f.at.Epoch, f.known) {
		return false, a.beginEpoch(ctx) // subscribers are told where they stand
	}
	if s == nil {
		return a.place(ctx, item{fill: f})
	}
	if err := a.readPast(ctx, s.channel, f); err != nil {
		return false, err
	}
	if a.hasMembers(s.channel) {
		all, err := a.readRosters(ctx, s.channel)
		if err != nil {
			return false, err
		}
		f.roster = &all[0]
	}
	return a.place(ctx, item{sub: s, fill: f})
}

// place puts a filling into the queue, and waits for it.
func (a *app) place(ctx context.Context, i item) (done bool, err error) {
	a.push(i)
	select {
	case done := <-i.fill.done:
		return done, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

var errFill = errors.New("redis has something else than a channel's history; keys with this prefix belong to the broker alone")

// askPast reads what Redis has of the channel's history: its answer to fill.lua.
func (a *app) askPast(ctx context.Context, channel string, f *filling) (answer []rueidis.RedisMessage, err error) {
	for _, read := range a.broker.pastReads {
		var more bool
		answer, more, err = a.askPart(ctx, channel, f, read)
		if err != nil || !more {
			break
		}
	}
	return answer, err
}

// askPart reads a part of the history. It reports whether there is more.
func (a *app) askPart(ctx context.Context, channel string, f *filling, read pastRead) (answer []rueidis.RedisMessage, more bool, err error) {
	if read.slots != nil {
		select {
		case read.slots <- struct{}{}:
			defer func() { <-read.slots }()
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
	answer, err = a.exec(ctx, fillScript, a.base, f.at.Epoch, channel, strconv.Itoa(read.most)).ToArray()
	if err != nil {
		return nil, false, err
	}
	if len(answer) != 5 {
		return nil, false, errFill
	}
	n, err := answer[4].AsInt64()
	return answer, n != 0, err
}

// readPast reads the channel's history up to f.at. Later messages are received.
func (a *app) readPast(ctx context.Context, channel string, f *filling) error {
	answer, err := a.askPast(ctx, channel, f)
	if err != nil {
		return err
	}
	now, err1 := answer[0].AsInt64()
	floor, err2 := answer[1].AsUint64()
	last, err3 := answer[2].AsUint64()
	entries, err4 := answer[3].AsStrSlice()
	if rueidis.IsRedisNil(err3) {
		last, err3 = 0, nil
	}
	if errors.Join(err1, err2, err3, err4) != nil {
		return errFill
	}
	f.floor = floor
	if last > 0 {
		f.floor = last
	}
	// From the newest on, as long as each is the one before the next, and all that were
	// published since have left room for it.
	most := len(entries)
	for _, entry := range entries {
		e, err := readHeader(entry)
		if err != nil || e.Epoch != f.at.Epoch {
			a.unreadable(cmp.Or(err, errEnvelope))
			break
		}
		if e.Offset != f.floor || len(f.past) >= most {
			break
		}
		f.floor = e.before
		if e.Offset > f.at.Offset {
			continue
		}
		m, err := e.message(a.id, channel)
		if err != nil {
			a.unreadable(err)
			f.floor = e.Offset
			break
		}
		most = min(most, len(f.past)+m.Keep.Messages)
		f.past = append(f.past, hub.Filled{Message: m, Old: max(0, time.Duration(now-e.time)*time.Millisecond)})
	}
	slices.Reverse(f.past)
	f.floor = min(f.floor, f.at.Offset)
	return nil
}

// finishFill gives the hub a channel's history, with the messages that were received
// since it was read. The app stands where the worker does.
func (a *app) finishFill(s *subscription, f *filling) {
	if s == nil {
		a.stand(f)
		return
	}
	a.mu.Lock()
	early, news := s.early, s.news
	again := !a.settle(f) || s.tooEarly() || a.subs[s.channel] != s
	if again {
		a.mu.Unlock()
		f.done <- false
		return
	}
	at := a.at
	s.since, s.filled, s.early, s.news, s.earlyBytes = at, true, nil, nil, 0
	a.mu.Unlock()
	for _, m := range early {
		if m.Offset > f.at.Offset {
			f.add(m)
		}
	}
	a.broker.handler.Fill(a.id, s.channel, at, f.floor, f.past)
	if f.roster != nil {
		s.use(f.roster)
		a.change(s, news...)
	}
	f.done <- true
}

// settle notes that the app has got to a filling's position, and reports whether all
// messages before it were received. The caller holds mu.
func (a *app) settle(f *filling) bool {
	if a.at.Epoch != "" && a.at.Epoch != f.at.Epoch {
		a.behind = true // the epoch is new to one of both
	}
	if a.behind || f.breaks != a.breaks {
		return false
	}
	if f.at.Offset >= a.at.Offset {
		a.at = f.at
	}
	if f.at.Offset > offsetIn(f.at.Epoch, a.known) || a.known.Epoch == "" {
		a.known = f.at
	}
	return true
}

// add adds a message that was received after the history had been read, as the hub
// does.
func (f *filling) add(m *hub.Message) {
	switch keep := m.Keep; {
	case m.NoHistory:
	case keep.Messages <= 0 || keep.Age <= 0:
		f.past, f.floor = nil, m.Offset
	default:
		f.past = append(f.past, hub.Filled{Message: m})
		if over := len(f.past) - keep.Messages; over > 0 {
			f.floor = f.past[over-1].Offset
			f.past = f.past[over:]
		}
	}
}

// cancelFills has those who wait for an item that is dropped try again.
func cancelFills(dropped []item) {
	for _, i := range dropped {
		if i.fill != nil {
			i.fill.done <- false
		}
	}
}
