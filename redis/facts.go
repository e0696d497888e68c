package redis

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/webhook"
	"go.uber.org/zap"
)

// What happens in an app is a stream of entries, whose IDs are their times, so that one
// machine at a time can send it to the app's webhooks. The fields of an entry; those that
// do not apply are absent:
//
//	t  the type, of factTypes
//	c  the channel
//	u  the user
//	i  what presence shows of the user, JSON
//	k  the connection
//	e  the name of a client event
//	d  its data, JSON
//	r  the reason why a connection was closed, in words
//	o  the code of an error
//	n  how many there were of it
//	h  the hook that a test is for

// factTypes are the types in entries.
var factTypes = map[string]string{
	webhook.ChannelOccupied: "occupied", webhook.ChannelVacated: "vacated",
	webhook.MemberJoined: "joined", webhook.MemberLeft: "left",
	webhook.ConnectionOpened: "opened", webhook.ConnectionClosed: "closed",
	webhook.ClientEvent: "client", webhook.Rejected: "rejected",
	webhook.StateReset: "reset", webhook.Test: "test",
}

var typesOfFacts = func() map[string]string {
	types := make(map[string]string, len(factTypes))
	for long, short := range factTypes {
		types[short] = long
	}
	return types
}()

const (
	// maxFacts is how many facts of an app are kept. Redis keeps some more.
	maxFacts = 10_000

	// maxFactBytes bounds their size: where facts are large, fewer are kept.
	maxFactBytes = 16 << 20

	// factAge is how long the facts of an app are kept after the last one, if there is
	// no sender. It is longer than webhooks are retried.
	factAge = 25 * time.Hour

	// senderAge is how long positions are kept without a sender.
	senderAge = 7 * 24 * time.Hour
)

func factsKey(base string) string { return base + "f" }

func senderKey(base string) string { return base + "h" }

func writersKey(base string) string { return base + "w" }

// encodeFact returns the fields and values of an entry.
func encodeFact(f *webhook.Fact) []string {
	e := &f.Event
	fields := []string{"t", factTypes[e.Type]}
	for _, field := range [...]struct{ name, value string }{
		{"c", e.Channel},
		{"u", e.User},
		{"i", string(e.Info)},
		{"k", e.Connection},
		{"e", e.Event},
		{"d", string(e.Data)},
		{"r", e.Reason},
		{"o", e.Code},
		{"h", f.Hook},
	} {
		if field.value != "" {
			fields = append(fields, field.name, field.value)
		}
	}
	if e.Count > 0 {
		fields = append(fields, "n", strconv.FormatUint(e.Count, 10))
	}
	return fields
}

// decodeFact reads an entry. One of an unknown type has no type, and no hook wants it.
func decodeFact(id string, fields map[string]string) (f webhook.Fact, err error) {
	if f.ID, err = webhook.ParseFactID(id); err != nil {
		return f, errFacts
	}
	f.Hook = fields["h"]
	count, _ := strconv.ParseUint(fields["n"], 10, 64) // absent: 0
	f.Event = webhook.Event{
		Type: typesOfFacts[fields["t"]], Channel: fields["c"], User: fields["u"], Connection: fields["k"],
		Event: fields["e"], Code: fields["o"], Reason: fields["r"], Count: count,
	}
	if info := fields["i"]; info != "" {
		f.Event.Info = json.RawMessage(info)
	}
	if data := fields["d"]; data != "" {
		f.Event.Data = json.RawMessage(data)
	}
	return f, nil
}

var errFacts = errors.New("redis has something else than what happened in an app; keys with this prefix belong to the broker alone")

//go:embed facts_append.lua
var appendSource string

//go:embed facts_read.lua
var readSource string

//go:embed facts_lead.lua
var leadSource string

var (
	appendScript = rueidis.NewLuaScript(appendSource)
	readScript   = rueidis.NewLuaScript(readSource)
	leadScript   = rueidis.NewLuaScript(leadSource)
)

// scriptResign ends a lease. KEYS: sender. ARGV: owner.
var scriptResign = rueidis.NewLuaScript(`
if redis.call('HMGET', KEYS[1], 'o')[1] == ARGV[1] then redis.call('HDEL', KEYS[1], 'o', 't') end
return 1
`)

// scriptSave keeps a record, or deletes it. It returns 0 if another machine has the
// lease, or data was lost. KEYS: sender. ARGV: owner, epoch, hook, record.
var scriptSave = rueidis.NewLuaScript(`
local at = redis.call('HMGET', KEYS[1], 'o', 'e', 'n')
if at[1] ~= ARGV[1] or at[2] ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'n', string.format('%.0f', at[3] + 1))
if ARGV[4] == '' then redis.call('HDEL', KEYS[1], 'r:' .. ARGV[3]) else redis.call('HSET', KEYS[1], 'r:' .. ARGV[3], ARGV[4]) end
return 1
`)

// scriptRecords returns the sender. KEYS: sender.
var scriptRecords = rueidis.NewLuaScript(`return redis.call('HGETALL', KEYS[1])`)

// scriptEndWriter removes a machine from those that add facts. If it was one, a fact can
// say that some of its facts are lost. KEYS: writers, facts. ARGV: machine, whether all
// of its facts are there, how long facts are kept in ms.
var scriptEndWriter = rueidis.NewLuaScript(`
if redis.call('HDEL', KEYS[1], ARGV[1]) == 1 and ARGV[2] ~= '1' then
	redis.call('XADD', KEYS[2], '*', 't', 'reset')
	redis.call('PEXPIRE', KEYS[2], ARGV[3])
end
return 1
`)

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// AppendFacts implements webhook.Shared.
func (b *broker) AppendFacts(ctx context.Context, app, machine string, number uint64, facts []webhook.Fact) error {
	base := baseName(b.prefix, app)
	args := []string{machine, strconv.FormatUint(number, 10), "", milliseconds(factAge)}
	largest := 1
	for i := range facts {
		fields := encodeFact(&facts[i])
		size := 0
		for _, field := range fields {
			size += len(field)
		}
		largest = max(largest, size)
		args = append(append(args, strconv.Itoa(len(fields))), fields...)
	}
	args[2] = strconv.Itoa(max(1, min(maxFacts, maxFactBytes/largest)))
	_, err := b.call(ctx, appendScript, []string{factsKey(base), writersKey(base)}, args...)
	return err
}

// ReadFacts implements webhook.Shared.
func (b *broker) ReadFacts(ctx context.Context, app string, after webhook.FactID, index uint64, count int) (p webhook.Page, err error) {
	known := ""
	if index != webhook.UnknownIndex {
		known = strconv.FormatUint(index, 10)
	}
	result, err := b.call(ctx, readScript, []string{factsKey(baseName(b.prefix, app))}, after.String(), known, strconv.Itoa(count))
	if err != nil {
		return p, err
	}
	answer, err := result.ToArray()
	if err != nil || len(answer) != 3 {
		return p, errFacts
	}
	var errs [3]error
	now, err := answer[0].AsInt64()
	errs[0] = err
	p.Now = time.UnixMilli(now)
	p.Index, errs[1] = answer[1].AsUint64()
	entries, err := answer[2].AsXRange()
	errs[2] = err
	if errors.Join(errs[:]...) != nil {
		return p, errFacts
	}
	for _, entry := range entries {
		f, err := decodeFact(entry.ID, entry.FieldValues)
		if err != nil {
			return p, err
		}
		if f.Event.Type == "" {
			b.seldom.Log(b.log.Error, "what happened in an app has a type that this version does not know; its webhooks do not get it; all machines need the same version of the gateway",
				zap.String("app", app), zap.String("type", entry.FieldValues["t"]))
		}
		p.Facts = append(p.Facts, f)
	}
	return p, nil
}

// Lead implements webhook.Shared.
func (b *broker) Lead(ctx context.Context, app, owner string, lease time.Duration, known webhook.Known) (l webhook.Leader, err error) {
	base := baseName(b.prefix, app)
	result, err := b.call(ctx, leadScript, []string{senderKey(base), factsKey(base), writersKey(base)},
		owner, milliseconds(lease), hub.NewEpoch(app), known.Epoch, strconv.FormatUint(known.Saved, 10),
		strconv.FormatUint(known.Added, 10), known.Last.String(), milliseconds(factAge), milliseconds(senderAge))
	if err != nil {
		return l, err
	}
	answer, err := result.ToArray()
	if err != nil || len(answer) != 9 {
		return l, errFacts
	}
	var errs [9]error
	var left, since, now int64
	var last string
	l.Owner, errs[0] = answer[0].ToString()
	left, errs[1] = answer[1].AsInt64()
	l.Epoch, errs[2] = answer[2].ToString()
	since, errs[3] = answer[3].AsInt64()
	l.Saved, errs[4] = answer[4].AsUint64()
	l.Added, errs[5] = answer[5].AsUint64()
	last, errs[6] = answer[6].ToString()
	now, errs[7] = answer[7].AsInt64()
	writers, err := answer[8].AsStrSlice()
	errs[8] = err
	for i := 0; i < len(writers); i += 2 {
		l.Writers = append(l.Writers, writers[i])
	}
	if err := errors.Join(errs[:]...); err != nil {
		return l, fmt.Errorf("%w: %w", errFacts, err)
	}
	l.Left, l.Since, l.Now = time.Duration(left)*time.Millisecond, time.UnixMilli(since), time.UnixMilli(now)
	l.Last, err = webhook.ParseFactID(last)
	return l, err
}

// Resign implements webhook.Shared.
func (b *broker) Resign(ctx context.Context, app, owner string) error {
	_, err := b.call(ctx, scriptResign, []string{senderKey(baseName(b.prefix, app))}, owner)
	return err
}

// Records implements webhook.Shared.
func (b *broker) Records(ctx context.Context, app string) (map[string]string, error) {
	result, err := b.call(ctx, scriptRecords, []string{senderKey(baseName(b.prefix, app))})
	if err != nil {
		return nil, err
	}
	all, err := result.AsStrMap()
	if err != nil {
		return nil, errFacts
	}
	records := make(map[string]string)
	for field, value := range all {
		if len(field) > 2 && field[:2] == "r:" {
			records[field[2:]] = value
		}
	}
	return records, nil
}

// SaveRecord implements webhook.Shared.
func (b *broker) SaveRecord(ctx context.Context, app, owner, epoch, hook, record string) error {
	result, err := b.call(ctx, scriptSave, []string{senderKey(baseName(b.prefix, app))}, owner, epoch, hook, record)
	if err != nil {
		return err
	}
	if saved, err := result.AsInt64(); err != nil || saved != 1 {
		return errors.Join(webhook.ErrFenced, err)
	}
	return nil
}

// EndWriter implements webhook.Shared.
func (b *broker) EndWriter(ctx context.Context, app, machine string, properly bool) error {
	base := baseName(b.prefix, app)
	flag := "0"
	if properly {
		flag = "1"
	}
	_, err := b.call(ctx, scriptEndWriter, []string{writersKey(base), factsKey(base)}, machine, flag, milliseconds(factAge))
	return err
}

// Interface guard
var _ webhook.Shared = (*broker)(nil)
