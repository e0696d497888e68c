package redis

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	"go.uber.org/zap"
)

// withUnlisted adds the apps that are known here and have a record, but are not listed:
// somebody has removed the list, which is written again.
func (s *store) withUnlisted(ctx context.Context, ids []string) ([]string, error) {
	listed := make(map[string]bool, len(ids))
	for _, id := range ids {
		listed[id] = true
	}
	var unlisted []string
	for id := range s.knownRecords() {
		if !listed[id] {
			unlisted = append(unlisted, id)
		}
	}
	for some := range slices.Chunk(unlisted, batch) {
		found, err := s.read(ctx, some)
		if err != nil {
			return nil, err
		}
		for id := range found {
			if err := s.end(ctx, run, id, 0, false, false); err != nil {
				return nil, err
			}
			s.log.Warn("redis has lost an app's entry in the list of apps; it is written again", zap.String("app", id), zap.String("key", s.names.index))
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// knownRecords returns the records that are known, at first those of the copy.
func (s *store) knownRecords() map[string]json.RawMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.records == nil && s.kept != nil {
		return s.kept.Apps
	}
	return maps.Clone(s.records)
}
