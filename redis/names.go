package redis

import (
	"hash/fnv"
	"net/url"
	"strconv"

	"github.com/seed-c079cc48/caddy-realtime/hub"
)

// laneCount is the number of slots that apps are spread over. A connection of
// Cluster's sharded pub/sub serves one slot, so this bounds the connections of a
// machine. Machines that differ in it do not hear each other.
const laneCount = 16

// brokerPrefix begins the names of all keys and channels of a broker. It has the number of
// the database, because databases share channels, but not keys.
func brokerPrefix(s *Server) string {
	if db := s.option.SelectDB; db != 0 {
		return s.Prefix + ":" + strconv.Itoa(db)
	}
	return s.Prefix
}

// laneOf returns the lane of an app: all its keys are in one slot.
func laneOf(app string) int {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(app))
	return int(sum.Sum32() % laneCount)
}

// laneName begins the names of all keys and channels in a lane.
func laneName(prefix string, lane int) string {
	return prefix + ":{" + strconv.Itoa(lane) + "}:"
}

// Names of an app's keys, as in publish.lua. A channel's name is any string, so it
// stands last.

func baseName(prefix, app string) string {
	return laneName(prefix, laneOf(app)) + url.QueryEscape(app) + ":"
}

func (a *app) positionKey() string { return a.base + "m" }

// absentKey is a key that never exists.
func absentKey(base string) string { return base + "-" }

func (a *app) limitKey() string { return a.base + "l" }

func (a *app) claimsKey() string { return a.base + "q" }

func (a *app) claimKey(name string) string { return a.base + "i:" + name }

func (a *app) streamKey(epoch, channel string) string { return a.base + "s:" + epoch + ":" + channel }

// placeKey has the offset of the last message of a channel, see publish.lua.
func (a *app) placeKey(epoch, channel string) string { return a.base + "p:" + epoch + ":" + channel }

func (a *app) pubsubName(channel string) string { return a.base + "c:" + channel }

// offsetIn returns the offset of a position, or 0 if it is of another epoch.
func offsetIn(epoch string, p hub.Position) uint64 {
	if p.Epoch != epoch {
		return 0
	}
	return p.Offset
}
