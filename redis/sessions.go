package redis

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"
	"github.com/seed-c079cc48/caddy-realtime/hub"
)

//go:embed sessions.lua
var saveSource string

// Scripts of sessions. A session is dropped or taken only if it is the one of a machine:
// that is ARGV[1], and its new machine ARGV[2]. The new machine counts the versions from
// where it has found the session, which the other one may have saved again since.
var (
	saveScript = rueidis.NewLuaScript(saveSource)
	dropScript = rueidis.NewLuaScript(`
if redis.call('HMGET', KEYS[1], 'm')[1] ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`)
	takeScript = rueidis.NewLuaScript(`
if redis.call('HMGET', KEYS[1], 'm')[1] ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'm', ARGV[2], 'v', 0)
return 1`)
	findScript = rueidis.NewLuaScript(`return redis.call('HMGET', KEYS[1], 'm', 'r')`)
)

// recordVersion begins a record. Records of other versions are not read.
const recordVersion = "1"

var errRecord = errors.New("a session has another format than this version's; its client begins again")

func (b *broker) sessionKey(app, pid string) []string {
	return []string{baseName(b.prefix, app) + "r:" + pid}
}

// machineID returns this machine's ID, or "" before Join.
func (b *broker) machineID() string {
	if m := b.member(); m != nil {
		return m.id
	}
	return ""
}

// SaveSession implements hub.SessionStore. It does nothing before Join.
func (b *broker) SaveSession(ctx context.Context, r *hub.SessionRecord, keep time.Duration) error {
	record, err := json.Marshal(r)
	machine := b.machineID()
	if err != nil || machine == "" {
		return err
	}
	result, err := b.call(ctx, saveScript, b.sessionKey(r.App, r.PID),
		machine, strconv.FormatUint(r.Version, 10), recordVersion+string(record), milliseconds(keep))
	if err != nil {
		return err
	}
	if saved, err := result.AsBool(); err != nil || !saved {
		return cmp.Or(err, hub.ErrTaken)
	}
	return nil
}

// DropSession implements hub.SessionStore.
func (b *broker) DropSession(ctx context.Context, app, pid string) error {
	machine := b.machineID()
	if machine == "" {
		return nil
	}
	_, err := b.call(ctx, dropScript, b.sessionKey(app, pid), machine)
	return err
}

// TakeSession implements hub.SessionStore.
func (b *broker) TakeSession(ctx context.Context, app, pid, from string) (taken bool, err error) {
	machine := b.machineID()
	if machine == "" {
		return false, nil
	}
	result, err := b.call(ctx, takeScript, b.sessionKey(app, pid), from, machine)
	if err != nil {
		return false, err
	}
	return result.AsBool()
}

// FindSession implements hub.SessionStore.
func (b *broker) FindSession(ctx context.Context, app, pid string) (*hub.SessionRecord, string, error) {
	if b.machineID() == "" {
		return nil, "", nil
	}
	result, err := b.call(ctx, findScript, b.sessionKey(app, pid))
	if err != nil {
		return nil, "", err
	}
	fields, err := result.AsStrSlice()
	if err != nil || len(fields) != 2 || fields[0] == "" {
		return nil, "", err
	}
	found := new(hub.SessionRecord)
	if record := fields[1]; record == "" || record[:1] != recordVersion || json.Unmarshal([]byte(record[1:]), found) != nil {
		return nil, "", errRecord
	}
	if found.App != app || found.PID != pid {
		return nil, "", fmt.Errorf("%w: it is another session's", errRecord)
	}
	return found, fields[0], nil
}
