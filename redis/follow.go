package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/zap"
)

const (
	// pollInterval is how often the version is read: a change whose notification is
	// lost is known after that time.
	pollInterval = time.Second

	// grace is how long a notification may take before it counts as lost.
	grace = 100 * time.Millisecond

	// pendingTime is after how long a pending change is ended for the gateway that
	// began it. That is more than its calls can take.
	pendingTime = 3 * callTimeout
)

// Watch implements [keystore.Shared].
func (s *store) Watch(changed func(id string)) {
	s.changed = changed
	s.work.Go(s.poll)
	s.work.Go(s.subscribe)
}

// wait returns false if the store is closed before the time is over.
func (s *store) wait(d time.Duration) bool { return sleep(s.ctx, d) == nil }

// poll looks for changes whose notification was lost, and ends changes of gateways that
// crashed.
func (s *store) poll() {
	for s.wait(pollInterval) {
		err := s.reach()
		known := s.known()
		var version int64
		var pending []string
		if err == nil {
			version, pending, err = s.look(s.ctx)
		}
		if s.ctx.Err() != nil {
			return
		}
		wasAway := s.noteAway(err)
		if err != nil {
			continue
		}
		s.compare(version, known, wasAway)
		for _, change := range pending {
			if err := s.endPending(change); err != nil {
				s.log.Warn("a change of a gateway that crashed cannot be ended; it is tried again", zap.String("change", change), zap.Error(err))
			}
		}
	}
}

// look returns the version of the keystore, 0 for a new one, and old pending changes.
func (s *store) look(ctx context.Context) (version int64, pending []string, err error) {
	err = s.call(ctx, func(ctx context.Context, c rueidis.Client) error {
		answer, err := scriptLook.Exec(ctx, c, []string{s.names.pending, s.names.version},
			[]string{strconv.FormatInt(pendingTime.Milliseconds(), 10)}).ToArray()
		if err != nil {
			return err
		}
		if len(answer) != 2 {
			return fmt.Errorf("the version: %d values, not 2", len(answer))
		}
		if version, err = answer[0].AsInt64(); err != nil {
			return err
		}
		pending, err = answer[1].AsStrSlice()
		return err
	})
	return version, pending, err
}

// noteAway logs that Redis is away, or back. It returns true if it is back.
func (s *store) noteAway(err error) (back bool) {
	s.mu.Lock()
	since := s.awaySince
	if err == nil {
		s.awaySince = time.Time{}
	} else if since.IsZero() {
		s.awaySince = time.Now()
	}
	s.mu.Unlock()
	switch {
	case err != nil && since.IsZero():
		s.log.Warn("redis is away: apps and keys cannot be changed, and changes of other gateways are not known", zap.Error(err))
	case err == nil && !since.IsZero():
		s.log.Info("redis is back: apps and keys can be changed", zap.Duration("after", time.Since(since)))
		return true
	}
	return false
}

// compare finds out whether changes were missed. known is the version that was known
// before the poll.
func (s *store) compare(version, known int64, doubt bool) {
	wasLost := s.isLost()
	if s.checkVersion(version) != nil {
		return
	}
	reverted := version < known
	if reverted {
		s.log.Warn("redis has lost changes of the keystore, for example in a failover", zap.Int64("version", version), zap.Int64("known", known))
	}
	doubt = doubt || wasLost || reverted || s.isStale()
	missed := s.behind(version)
	if missed && !doubt {
		if !s.wait(grace) {
			return
		}
		missed = s.behind(version)
	}
	if !missed && !doubt {
		return
	}
	s.catchUp(version, missed)
	s.changed("")
}

// behind reports whether changes up to a version may be unknown.
func (s *store) behind(version int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen != unknownVersion && s.seen < version
}

// catchUp makes a version the known one. silent says that notifications were missed,
// so the subscription is made again.
func (s *store) catchUp(version int64, silent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen != unknownVersion {
		s.seen = version
	}
	if silent && s.resubscribe != nil {
		s.resubscribe()
	}
}

func (s *store) known() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

// advance counts a change that is known, if all before it are.
func (s *store) advance(version int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == version-1 {
		s.seen = version
	}
}

// endPending ends a change, "<number> <id>", for the gateway that began it.
func (s *store) endPending(change string) error {
	text, id, ok := strings.Cut(change, " ")
	number, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil {
		return errors.New("it is not a number and an id")
	}
	return s.endUnanswered(id, number)
}

// endUnanswered ends a change of an app that may have been made.
func (s *store) endUnanswered(id string, number int64) error {
	records, err := s.read(s.ctx, []string{id})
	if err != nil {
		return err
	}
	_, exists := records[id]
	return s.end(s.ctx, run, id, number, !exists, true)
}

// subscribe receives notifications, over a connection of its own, which is opened again
// when it breaks or turns out to be silent.
func (s *store) subscribe() {
	refused := ""
	for first := true; s.ctx.Err() == nil; first = false {
		err := s.receive(!first)
		if answer := answerOf(err); strings.HasPrefix(answer, "NOPERM") && answer != refused {
			refused = answer
			s.log.Warn("redis refuses a subscription, so all apps are loaded after each change; allow the command SUBSCRIBE and the channel",
				zap.String("channel", s.names.channel), zap.Error(s.server.explain(err)))
		}
		if !s.wait(pollInterval / 2) {
			return
		}
	}
}

// receive subscribes and returns when the connection is lost. again says that it is not
// the first subscription.
func (s *store) receive(again bool) error {
	client, err := s.server.connect(tune)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	s.mu.Lock()
	s.resubscribe = cancel
	s.mu.Unlock()
	ctx = rueidis.WithOnSubscriptionHook(ctx, func(p rueidis.PubSubSubscription) {
		if again && p.Kind == "subscribe" {
			s.changed("") // what was published in the meantime is unknown
		}
	})
	return client.Receive(ctx, client.B().Subscribe().Channel(s.names.channel).Build(), func(m rueidis.PubSubMessage) {
		text, id, ok := strings.Cut(m.Message, " ")
		version, err := strconv.ParseInt(text, 10, 64)
		if !ok || err != nil || id == "" {
			return // not ours; the version tells of a change
		}
		s.advance(version)
		s.changed(id)
	})
}
