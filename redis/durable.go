package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/rueidis"
)

const (
	// replicaTime bounds how long a write waits for a replica.
	replicaTime = 2 * time.Second

	// durableWrites is how many writes of a keystore or a broker can wait for a replica at
	// once, each on a connection of its own; further ones wait for one of these.
	durableWrites = 64
)

var errUnconfirmed = errors.New("no replica has the change")

// checkDurability checks the setting.
func (s *Server) checkDurability() error {
	switch s.Durability {
	case "":
		return nil
	case "replica":
		s.writes = make(chan struct{}, durableWrites)
		return nil
	}
	return fmt.Errorf("durability is %q; it can be replica: a write is answered when a replica has it. Without the setting, it is answered when the primary has it", s.Durability)
}

// A writer runs a script that changes something.
type writer func(context.Context, rueidis.Client, *rueidis.Lua, []string, []string) rueidis.RedisResult

// run is a writer that waits for no replica.
func run(ctx context.Context, client rueidis.Client, script *rueidis.Lua, keys, args []string) rueidis.RedisResult {
	return script.Exec(ctx, client, keys, args)
}

// write runs a script that changes what must not be lost. With durability replica, it
// fails unless a replica has the change, which was made all the same.
func (s *Server) write(ctx context.Context, client rueidis.Client, script *rueidis.Lua, keys, args []string) (result rueidis.RedisResult) {
	if s.Durability == "" {
		return run(ctx, client, script, keys, args)
	}
	select {
	case s.writes <- struct{}{}:
		defer func() { <-s.writes }()
	case <-ctx.Done():
		return rueidis.NewErrorResult(ctx.Err())
	}
	failed := client.Dedicated(func(conn rueidis.DedicatedClient) error {
		result = script.Exec(ctx, oneConnection{client, conn}, keys, args)
		if err := result.Error(); err != nil {
			return err
		}
		// It waits for the latest write of this connection, on this server: one that was
		// lost in a failover is never taken for a later one that a replica has.
		replicas, err := conn.Do(ctx, conn.B().Wait().Numreplicas(1).Timeout(replicaTime.Milliseconds()).Build()).AsInt64()
		if err == nil && replicas == 0 {
			err = errUnconfirmed
		}
		return err
	})
	if failed != nil {
		return rueidis.NewErrorResult(failed)
	}
	return result
}

// oneConnection has a script run on one connection of a client.
type oneConnection struct {
	rueidis.Client
	conn rueidis.DedicatedClient
}

func (c oneConnection) Do(ctx context.Context, command rueidis.Completed) rueidis.RedisResult {
	return c.conn.Do(ctx, command)
}
