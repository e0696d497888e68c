package redis

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/zap"
)

// LoadUsed implements [keystore.Store]. Times that cannot be read do not prevent a start.
func (s *store) LoadUsed(ctx context.Context) (map[string]time.Time, error) {
	used := make(map[string]time.Time)
	if s.isStale() {
		return used, nil
	}
	ids, err := s.ids(ctx)
	if err == nil {
		used, err = s.ReadUsed(ctx, ids)
	}
	if err != nil {
		s.log.Warn("some last-use times of keys cannot be read", zap.Error(err))
	}
	return used, nil
}

// ReadUsed implements [keystore.UsedReader].
func (s *store) ReadUsed(ctx context.Context, apps []string) (map[string]time.Time, error) {
	used := make(map[string]time.Time)
	for some := range slices.Chunk(apps, batch) {
		if err := s.readUsed(ctx, some, used); err != nil {
			return used, err
		}
	}
	return used, nil
}

func (s *store) isStale() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stale
}

// readUsed adds the times of some apps to used.
func (s *store) readUsed(ctx context.Context, ids []string, used map[string]time.Time) error {
	return s.call(ctx, func(ctx context.Context, c rueidis.Client) (err error) {
		commands := make(rueidis.Commands, 0, len(ids))
		for _, id := range ids {
			commands = append(commands, c.B().Hgetall().Key(s.names.used(id)).Build())
		}
		for _, result := range c.DoMulti(ctx, commands...) {
			times, resultErr := result.AsStrMap()
			if resultErr != nil {
				err = resultErr
				continue
			}
			for key, text := range times {
				if at, err := strconv.ParseInt(text, 10, 64); err == nil {
					used[key] = time.UnixMicro(at).UTC()
				}
			}
		}
		return err
	})
}

// PutUsed implements [keystore.Store]. It stores nothing for an app that does not exist.
func (s *store) PutUsed(ctx context.Context, app string, keys map[string]time.Time) error {
	args := make([]string, 0, 2*len(keys))
	for key, at := range keys {
		args = append(args, key, strconv.FormatInt(at.UnixMicro(), 10))
	}
	return s.call(ctx, func(ctx context.Context, c rueidis.Client) error {
		return scriptUsed.Exec(ctx, c, []string{s.names.app(app), s.names.used(app)}, args).Error()
	})
}
