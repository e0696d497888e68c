package redis

import (
	"cmp"
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"net/url"
	"strings"

	"github.com/redis/rueidis"
	"github.com/seed-c079cc48/caddy-realtime/cluster"
	"github.com/seed-c079cc48/caddy-realtime/hub"
)

//go:embed presence.lua
var presenceSource string

var presenceScript = rueidis.NewLuaScript(presenceSource)

// What a say is, as in presence.lua.
const (
	sayAdd    = "+"
	sayRemove = "-"
)

// A say is what a machine says of a channel.
type say struct {
	what    string
	channel string
	facts   string
	user    cluster.ChannelMember
}

// Names of keys of a lane, as in presence.lua. IDs of machines have no colon, so that no
// app has these names.

func saysKey(lane, machine string) string { return lane + "w:" + machine }

func sayersKey(lane string) string { return lane + "w" }

func (b *broker) pubsubName(app, channel string) string {
	return baseName(b.prefix, app) + "c:" + channel
}

func (a *app) changesKey() string { return a.base + "n" }

func (a *app) membersKey(channel string) string { return membersKey(a.base, channel) }

func membersKey(base, channel string) string { return base + "v:" + channel }

// factsOf returns which facts are kept of a channel, as in presence.lua.
func factsOf(m cluster.Members, app, channel string) (facts string) {
	occupancy, members := m.Facts(app, channel)
	if occupancy {
		facts = "o"
	}
	if members {
		facts += "m"
	}
	return facts
}

func comparePlaces(a, b place) int {
	return cmp.Or(strings.Compare(a.channel, b.channel), strings.Compare(a.user, b.user))
}

// say tells Redis what a machine says of the channels of an app. It returns false if the
// machine has another mark.
func (b *broker) say(ctx context.Context, lane, app, machine, mark string, says []say) (bool, error) {
	base := baseName(b.prefix, app)
	args := make([]string, 5, 5+5*len(says))
	args[0], args[1], args[2], args[3], args[4] = lane, strings.TrimPrefix(base, lane), machine, mark, hub.NewEpoch(app)
	for _, s := range says {
		args = append(args, s.what, s.channel, s.facts, s.user.User, string(s.user.Info))
	}
	n, err := b.exec(ctx, presenceScript, []string{base + "n", absentKey(base)}, args...).AsInt64()
	return n == 1, err
}

// markOf returns the mark of a machine, or "".
func (b *broker) markOf(ctx context.Context, lane, machine string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	answer, err := b.do(ctx, func(c rueidis.Builder) rueidis.Completed {
		return c.Hmget().Key(saysKey(lane, machine)).Field("").Build()
	}).AsStrSlice()
	if err != nil || len(answer) != 1 {
		return "", err
	}
	return answer[0], nil
}

// scriptBeginSaying gives a machine another mark.
//
// KEYS: what the machine has said, the machines. ARGV: machine, mark.
var scriptBeginSaying = rueidis.NewLuaScript(`
redis.call('HSET', KEYS[1], '', ARGV[2])
redis.call('SADD', KEYS[2], ARGV[1])
return ARGV[2]
`)

// beginSaying gives a machine another mark, and returns it, and where the machine has said
// something.
func (b *broker) beginSaying(ctx context.Context, lane, machine string) (mark string, has []place, err error) {
	return b.mark(ctx, scriptBeginSaying, lane, machine, "m"+rand.Text())
}

// scriptEntomb gives a machine that is gone a mark that it does not know, the same for all
// that remove what it has said.
//
// KEYS: what the machine has said. ARGV: machine, mark.
var scriptEntomb = rueidis.NewLuaScript(`
local mark = redis.call('HGET', KEYS[1], '')
if mark and string.sub(mark, 1, 1) == 'x' then return mark end
redis.call('HSET', KEYS[1], '', ARGV[2])
return ARGV[2]
`)

// entomb gives a machine that is gone such a mark, and returns it, and where the machine
// has said something.
func (b *broker) entomb(ctx context.Context, lane, machine string) (mark string, has []place, err error) {
	return b.mark(ctx, scriptEntomb, lane, machine, "x"+rand.Text())
}

// mark runs one of both scripts.
func (b *broker) mark(ctx context.Context, script *rueidis.Lua, lane, machine, begun string) (mark string, has []place, err error) {
	key := saysKey(lane, machine)
	if mark, err = b.exec(ctx, script, []string{key, sayersKey(lane)}, machine, begun).ToString(); err != nil {
		return "", nil, err
	}
	hashes, err := b.readHashes(ctx, key)
	if err != nil {
		return "", nil, err
	}
	has, err = placesIn(hashes[0])
	return mark, has, err
}

var errSays = errors.New("redis has something else than what a machine has said of its channels; keys with this prefix belong to the broker alone")

// placesIn reads where a machine has said something.
func placesIn(answer map[string]string) ([]place, error) {
	var all []place
	for name := range answer {
		if name == "" {
			continue
		}
		escaped, channel, found := strings.Cut(name, ":")
		app, err := url.QueryUnescape(escaped)
		if err != nil || !found {
			return nil, errSays
		}
		all = append(all, place{app: app, channel: channel})
	}
	return all, nil
}

// scriptForget forgets a machine of which everything was removed.
//
// KEYS: what the machine has said, the machines. ARGV: machine, mark.
var scriptForget = rueidis.NewLuaScript(`
if redis.call('HGET', KEYS[1], '') == ARGV[2] then
	redis.call('UNLINK', KEYS[1])
	redis.call('SREM', KEYS[2], ARGV[1])
end
return 1
`)
