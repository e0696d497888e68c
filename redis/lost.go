package redis

import (
	"fmt"

	"go.uber.org/zap"
)

// errLost is the error of a keystore that Redis has lost.
func (s *store) errLost() error {
	return fmt.Errorf("redis at %s has lost the keystore, or the URL names another server or database: its keys %s:* are gone. "+
		"Restore Redis' data. To begin without any app, remove the copy %s and restart",
		s.server.place(), s.server.Prefix, s.copy.Load().path)
}

// checkVersion compares a version with what is known: a keystore that has ever had an app
// has a version.
func (s *store) checkVersion(version int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.seen
	if s.kept != nil {
		known = max(known, s.kept.Version)
	}
	wasLost := s.lost
	s.lost = version == 0 && known > 0
	if s.lost {
		err := s.errLost()
		if !wasLost && s.loaded { // otherwise it is the error of the start
			s.log.Error("the keystore cannot be used; apps and keys stay as they are known", zap.Error(err))
		}
		return err
	}
	if version < known && s.kept != nil {
		s.log.Warn("redis has lost changes of the keystore: it is older than the last copy",
			zap.Int64("version", version), zap.Int64("copy", s.kept.Version))
	}
	return nil
}

func (s *store) isLost() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}
