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
)

//go:embed sessions.lua
var saveSource string

// Scripts of sessions. A session is dropped or taken only if it is the one of a machine:
// that is ARGV[1], and its new machine ARGV[2].
var (
	saveScript = rueidis.NewLuaScript(saveSource)
	dropScript = rueidis.NewLuaScript(`
if redis.call('HMGET', KEYS[1], 'm')[1] ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`)
	takeScript = rueidis.NewLuaScript(`
if redis.call('HMGET', KEYS[1], 'm')[1] ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'm', ARGV[2])
return 1`)
)

// recordVersion begins a record. Records of other versions are not read.
const recordVersion = "1"

var errRecord = errors.New("a session has another format than this version's; its client begins again")

func (b *broker) sessionKey(app, pid string) []string {
	return []string{baseName(b.prefix, app) + "r:" + pid}
}

// SaveSession implements hub.SessionStore. It does nothing before Join.
func (b *broker) SaveSession(ctx context.Context, r *hub.SessionRecord, keep time.Duration) error {
	record, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return b.withSession(ctx, func(ctx context.Context, machine string) error {
		args := []string{machine, strconv.FormatUint(r.Version, 10), recordVersion + string(record), strconv.FormatInt(keep.Milliseconds(), 10)}
		done, err := saveScript.Exec(ctx, b.client, b.sessionKey(r.App, r.PID), args).AsBool()
		if err == nil && !done {
			return hub.ErrTaken
		}
		return err
	})
}

// DropSession implements hub.SessionStore.
func (b *broker) DropSession(ctx context.Context, app, pid string) error {
	return b.withSession(ctx, func(ctx context.Context, machine string) error {
		return dropScript.Exec(ctx, b.client, b.sessionKey(app, pid), []string{machine}).Error()
	})
}

// TakeSession implements hub.SessionStore.
func (b *broker) TakeSession(ctx context.Context, app, pid, from string) (taken bool, err error) {
	err = b.withSession(ctx, func(ctx context.Context, machine string) error {
		taken, err = takeScript.Exec(ctx, b.client, b.sessionKey(app, pid), []string{from, machine}).AsBool()
		return err
	})
	return taken, err
}

// FindSession implements hub.SessionStore.
func (b *broker) FindSession(ctx context.Context, app, pid string) (r *hub.SessionRecord, machine string, err error) {
	err = b.withSession(ctx, func(ctx context.Context, _ string) error {
		fields, err := b.client.Do(ctx, b.client.B().Hmget().Key(b.sessionKey(app, pid)[0]).Field("m", "r").Build()).AsStrSlice()
		if err != nil || len(fields) != 2 || fields[0] == "" {
			return err
		}
		found := new(hub.SessionRecord)
		if record := fields[1]; record == "" || record[:1] != recordVersion || json.Unmarshal([]byte(record[1:]), found) != nil {
			return errRecord
		}
		if found.App != app || found.PID != pid {
			return fmt.Errorf("%w: it is another session's", errRecord)
		}
		r, machine = found, fields[0]
		return nil
	})
	return r, machine, err
}

// withSession calls f with this machine's ID, unless the machine has not joined, or the
// broker is closed. It explains the errors of Redis.
func (b *broker) withSession(ctx context.Context, f func(ctx context.Context, machine string) error) error {
	done, err := b.begin()
	if err != nil {
		return err
	}
	defer done()
	m := b.member()
	if m == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if err := f(ctx, m.id); err != nil && !errors.Is(err, hub.ErrTaken) && !errors.Is(err, errRecord) {
		return b.server.explain(err)
	} else if err != nil {
		return err
	}
	return nil
}
