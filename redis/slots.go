package redis

import (
	"context"

	"github.com/redis/rueidis"
)

// exec runs a script of the app. While Cluster moves the app's slot, it tries again: the
// script has done nothing.
func (a *app) exec(ctx context.Context, script *rueidis.Lua, args []string) rueidis.RedisResult {
	for {
		result := script.Exec(ctx, a.broker.client, []string{a.positionKey(), a.absentKey()}, args)
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
