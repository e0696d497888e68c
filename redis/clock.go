package redis

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"
	"github.com/seed-c079cc48/caddy-realtime/cluster"
)

// Now implements cluster.Clock: it returns the time of Redis.
func (b *broker) Now(ctx context.Context) (time.Time, error) {
	done, err := b.begin()
	if err != nil {
		return time.Time{}, err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	fields, err := b.do(ctx, func(c rueidis.Builder) rueidis.Completed { return c.Time().Build() }).AsStrSlice()
	if err != nil {
		return time.Time{}, b.server.explain(err)
	}
	if len(fields) != 2 {
		return time.Time{}, fmt.Errorf("redis has answered TIME with %d values, not 2", len(fields))
	}
	seconds, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	micros, err := strconv.ParseInt(fields[1], 10, 64)
	return time.Unix(seconds, micros*1000), err
}

// Interface guard
var _ cluster.Clock = (*broker)(nil)
