package hub

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// errNotIncreasing is the reason for most snapshots that are refused.
var errNotIncreasing = errors.New("offsets are not increasing")

// Check returns an error for a snapshot that no hub can have made, which Restore
// must not be given.
func (s *Snapshot) Check() error {
	last := make(map[string]uint64, len(s.Streams))
	for _, stream := range s.Streams {
		if _, twice := last[stream.App]; twice {
			return fmt.Errorf("app %q: it is there twice", stream.App)
		}
		last[stream.App] = stream.Position.Offset
		if err := stream.check(); err != nil {
			return fmt.Errorf("app %q: %w", stream.App, err)
		}
	}
	pids := make(map[string]struct{}, len(s.Sessions))
	for _, session := range s.Sessions {
		if _, twice := pids[session.PID]; twice {
			return fmt.Errorf("session %q: its private ID is there twice", session.ID)
		}
		pids[session.PID] = struct{}{}
		end, ok := last[session.App]
		if !ok {
			return fmt.Errorf("session %q: its app is not there", session.ID)
		}
		if err := session.check(end); err != nil {
			return fmt.Errorf("session %q: %w", session.ID, err)
		}
	}
	return nil
}

func (s *StreamSnapshot) check() error {
	if len(s.Position.Epoch) != epochLength || !s.Position.isOf(s.App) {
		return fmt.Errorf("the epoch %q is not the app's", s.Position.Epoch)
	}
	seen := make(map[string]struct{}, len(s.Channels))
	for _, c := range s.Channels {
		if _, twice := seen[c.Channel]; twice {
			return fmt.Errorf("channel %q: it is there twice", c.Channel)
		}
		seen[c.Channel] = struct{}{}
		before := c.Floor
		for _, m := range c.Messages {
			if m.Offset <= before {
				return fmt.Errorf("channel %q: %w", c.Channel, errNotIncreasing)
			}
			before = m.Offset
		}
		if before > s.Position.Offset {
			return fmt.Errorf("channel %q: offset %d is after the last", c.Channel, before)
		}
	}
	return nil
}

// check is given the offset of the app's last message.
func (s *SessionSnapshot) check(last uint64) error {
	if s.ID == "" || len(s.PID) != pidLength {
		return errors.New("an ID is missing")
	}
	if s.newest() > last {
		return errors.New("it is from after the last message")
	}
	seen := make(map[string]struct{}, len(s.Channels))
	for _, c := range s.Channels {
		if _, twice := seen[c.Channel]; twice {
			return fmt.Errorf("channel %q: it is there twice", c.Channel)
		}
		seen[c.Channel] = struct{}{}
	}
	for _, r := range s.Replays {
		var before uint64
		for b := r.Offsets; len(b) > 0; {
			d, n := binary.Uvarint(b)
			if n <= 0 || d == 0 || d > r.At-before {
				return errNotIncreasing
			}
			b, before = b[n:], before+d
		}
	}
	return nil
}

// newest returns the newest offset that the session knows of.
func (s *SessionSnapshot) newest() uint64 {
	newest := max(s.Start, s.Blurred)
	if s.Expelled > 0 {
		newest = max(newest, s.Expelled-1)
	}
	for _, c := range s.Channels {
		newest = max(newest, c.Since)
	}
	for _, r := range s.Replays {
		newest = max(newest, r.At)
	}
	return newest
}
