package redis

import (
	"context"

	"github.com/redis/rueidis"
)

// exec runs a script of the app.
func (a *app) exec(ctx context.Context, script *rueidis.Lua, args []string) rueidis.RedisResult {
	return a.settled(ctx, func(keys []string) rueidis.RedisResult { return script.Exec(ctx, a.broker.client, keys, args) })
}

// write is exec for a script whose changes must be as durable as the configuration says.
func (a *app) write(ctx context.Context, script *rueidis.Lua, args []string) rueidis.RedisResult {
	return a.settled(ctx, func(keys []string) rueidis.RedisResult {
		return a.broker.server.write(ctx, a.broker.client, script, keys, args)
	})
}

// settled runs a script of the app, which gets its keys. While Cluster moves the app's
// slot, it tries again: the script has done nothing.
func (a *app) settled(ctx context.Context, run func(keys []string) rueidis.RedisResult) rueidis.RedisResult {
	for {
		result := run([]string{a.positionKey(), a.absentKey()})
		if !moving(result.Error()) || sleep(ctx, minPause) != nil {
			return result
		}
	}
}

// moving reports whether an error means that a slot of Cluster is being moved.
func moving(err error) bool {
	answer, ok := rueidis.IsRedisErr(err)
	if !ok {
		return false
	}
	_, moved := answer.IsMoved()
	_, ask := answer.IsAsk()
	return moved || ask || answer.IsTryAgain()
}
