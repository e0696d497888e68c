package redis

import (
	"strconv"

	"github.com/redis/rueidis"
)

// names are the names of the keystore's keys. In Cluster, the records are spread over
// the slots, while all keys of the index share one, so that a script can change them
// together.
type names struct {
	prefix string

	index   string // sorted set of the ids of apps; score: number of the last change that began
	begun   string // how many changes have begun
	pending string // sorted set of changes, "<number> <id>", that have begun but not ended; score: since when, in ms
	version string // how many changes have ended; absent in an empty keystore
	channel string // receives "<version> <id>" for each change that ended
}

func namesOf(s *Server) names {
	index := s.Prefix + ":{apps}"
	n := names{
		prefix: s.Prefix, index: index, begun: index + ":begun", pending: index + ":pending", version: index + ":version",
		channel: s.Prefix + ":apps:changed",
	}
	if db := s.option.SelectDB; db != 0 { // databases share channels, but not keys
		n.channel += ":" + strconv.Itoa(db)
	}
	return n
}

func (n names) app(id string) string  { return n.prefix + ":{" + id + "}:app" }
func (n names) used(id string) string { return n.prefix + ":{" + id + "}:used" }

// A change takes three steps, because in Cluster the record and the index can be on
// different servers:
//
//  1. begin adds the app to the index, and the change to those that are pending;
//  2. swap or remove changes the record if it is the expected one;
//  3. end increases the version and notifies. Whoever sees the version or the
//     notification therefore sees the record, too.
//
// After a crash in between, the change stays pending, and any gateway ends it later
// (pendingTime). Until then, the index has an app without a record, which readers
// ignore, or a record that not every gateway knows, for a change that was never
// acknowledged.

// scriptBegin returns the number of the change, or -1 if the keystore has lost its data:
// known says that it had a version.
//
// KEYS: index, begun, pending, version. ARGV: id, known.
var scriptBegin = rueidis.NewLuaScript(`
if ARGV[2] == '1' and redis.call('EXISTS', KEYS[4]) == 0 then return -1 end
local n = redis.call('INCR', KEYS[2])
local now = redis.call('TIME')
redis.call('ZADD', KEYS[1], n, ARGV[1])
redis.call('ZADD', KEYS[3], now[1] * 1000 + math.floor(now[2] / 1000), n .. ' ' .. ARGV[1])
return n
`)

// Answers of scriptSwap and scriptRemove.
const (
	swapped  = 1  // the record was changed
	differs  = 0  // nothing was changed: there is another record
	vanished = -1 // nothing was changed: there is no record, or none to remove
)

// scriptSwap writes a record.
//
// KEYS: record. ARGV: the expected record, "" for none; the new one.
var scriptSwap = rueidis.NewLuaScript(`
local kept = redis.call('GET', KEYS[1])
if (kept or '') ~= ARGV[1] then return kept and 0 or -1 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
`)

// scriptRemove removes a record and the times of use.
//
// KEYS: record, used. ARGV: the expected record.
var scriptRemove = rueidis.NewLuaScript(`
local kept = redis.call('GET', KEYS[1])
if kept and kept ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
return kept and 1 or -1
`)

// scriptEnd ends a change. If the app is gone, it leaves the index, unless another
// change has begun since. It returns the version, and why PUBLISH failed: a user without
// that right can still change apps.
//
// KEYS: index, pending, version. ARGV: id, number, gone, changed, channel.
var scriptEnd = rueidis.NewLuaScript(`
redis.call('ZREM', KEYS[2], ARGV[2] .. ' ' .. ARGV[1])
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if ARGV[3] == '1' then
	if score and tonumber(score) == tonumber(ARGV[2]) then redis.call('ZREM', KEYS[1], ARGV[1]) end
elseif not score then
	redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
end
if ARGV[4] ~= '1' then return {tonumber(redis.call('GET', KEYS[3]) or '0'), ''} end
local version = redis.call('INCR', KEYS[3])
local told = redis.pcall('PUBLISH', ARGV[5], version .. ' ' .. ARGV[1])
return {version, type(told) == 'table' and told.err or ''}
`)

// scriptLook returns the version, 0 for none, and the changes that have been pending
// for some time.
//
// KEYS: pending, version. ARGV: that time in ms.
var scriptLook = rueidis.NewLuaScript(`
local now = redis.call('TIME')
local since = now[1] * 1000 + math.floor(now[2] / 1000) - ARGV[1]
return {tonumber(redis.call('GET', KEYS[2]) or '0'), redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', since, 'LIMIT', 0, 100)}
`)

// scriptUsed replaces the times of use of an app that exists, but keeps a later time
// that another gateway stored.
//
// KEYS: record, used. ARGV: pairs of key id and time in µs.
var scriptUsed = rueidis.NewLuaScript(`
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local kept = {}
local all = redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do kept[all[i]] = all[i + 1] end
redis.call('DEL', KEYS[2])
for i = 1, #ARGV, 2 do
	local at, before = ARGV[i + 1], kept[ARGV[i]]
	if before and (tonumber(before) or 0) > tonumber(at) then at = before end
	redis.call('HSET', KEYS[2], ARGV[i], at)
end
return 1
`)
