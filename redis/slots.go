package redis

import (
	"context"
	"errors"

	"github.com/redis/rueidis"
)

// call runs a script for a method of the broker: not after Close, and with errors that are
// explained.
func (b *broker) call(ctx context.Context, script *rueidis.Lua, keys []string, args ...string) (rueidis.RedisResult, error) {
	done, err := b.begin()
	if err != nil {
		return rueidis.RedisResult{}, err
	}
	defer done()
	result := b.exec(ctx, script, keys, args...)
	return result, b.server.explain(result.Error())
}

// exec runs a script, within requestTimeout. All its keys are in one slot. While Cluster
// moves the slot, it tries again: the script has done nothing.
//
// A script that uses more keys than it names must name one that never exists, too. It is
// then refused as long as the slot is moved. Otherwise it would run with the keys of one
// server, and create those that are still on the other.
func (b *broker) exec(ctx context.Context, script *rueidis.Lua, keys []string, args ...string) (result rueidis.RedisResult) {
	client, err := b.connection()
	if err != nil {
		return rueidis.NewErrorResult(err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_ = patiently(ctx, func() error {
		result = script.Exec(ctx, client, keys, args)
		return result.Error()
	})
	return result
}

// patiently calls f again while Cluster moves a slot.
func patiently(ctx context.Context, f func() error) error {
	for {
		err := f()
		if !moving(err) || sleep(ctx, minPause) != nil {
			return err
		}
	}
}

// moving reports whether an error means that a slot of Cluster is being moved.
func moving(err error) bool {
	answer, ok := errors.AsType[*rueidis.RedisError](err) // it may be explained
	if !ok {
		return false
	}
	_, moved := answer.IsMoved()
	_, ask := answer.IsAsk()
	return moved || ask || answer.IsTryAgain()
}
