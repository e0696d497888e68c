package redis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"go.uber.org/zap"
)

const (
	// callTimeout bounds a call to Redis whose context has no deadline.
	callTimeout = 5 * time.Second

	// batch is how many records are read at once.
	batch = 500

	// unknownVersion is the version of a store that has not loaded anything yet.
	unknownVersion = -1

	// maxSwaps is how often a change tries another form of the same record.
	maxSwaps = 3
)

// A store is a keystore in Redis, which several processes change.
type store struct {
	server *Server
	names  names
	copy   atomic.Pointer[copyFile]
	log    *zap.Logger

	ctx     context.Context // ends when the store is closed
	stop    context.CancelFunc
	work    sync.WaitGroup // keepCopy, poll, subscribe
	changed func(id string)
	dirty   chan struct{} // the copy is to be written

	mu          sync.Mutex                 // guards the fields below
	client      rueidis.Client             // nil until Redis was reached for the first time
	away        error                      // why Redis cannot be used; nil if it can
	awaySince   time.Time                  // zero if it can
	lost        bool                       // Redis has lost the keystore
	loaded      bool                       // Load has succeeded, or read the copy
	stale       bool                       // the apps are those of the copy
	kept        *copied                    // the copy that was found; nil once the apps are loaded
	copyErr     error                      // why the copy cannot be used
	records     map[string]json.RawMessage // what the copy is to contain, by app
	seen        int64                      // the version up to which changes are known
	unreadable  map[string]error           // apps of a later version, which stay as they were known
	unpublished bool                       // PUBLISH has failed, and that was logged
	resubscribe context.CancelFunc         // ends the current subscription
}

// reach connects to Redis if that has not succeeded yet. Open calls it, and later only
// poll.
func (s *store) reach() error {
	if client, _ := s.connection(); client != nil {
		return nil
	}
	client, err := s.server.connect(tune)
	if err == nil {
		if err = s.server.inspect(client, s.log, true); err != nil {
			client.Close()
			client = nil
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.client, s.away = client, s.server.explain(err)
	return s.away
}

// tune makes calls fail at once while Redis is away, so that errors say why.
func tune(option *rueidis.ClientOption) { option.DisableRetry = true }

// connection returns the client, or the error of the last attempt to connect.
func (s *store) connection() (rueidis.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil {
		return nil, s.away
	}
	return s.client, nil
}

// call calls Redis.
func (s *store) call(ctx context.Context, do func(context.Context, rueidis.Client) error) error {
	client, err := s.connection()
	if err != nil {
		return err
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	return s.server.explain(patiently(ctx, func() error { return do(ctx, client) }))
}

// withoutCopy explains why a start fails.
func (s *store) withoutCopy(err error) error {
	if s.copyErr != nil {
		return errors.Join(err, s.copyErr)
	}
	if unreachable(err) && s.copy.Load().path != "" {
		return fmt.Errorf("%w; there is no copy of the keystore in %s to start with", err, s.copy.Load().path)
	}
	return err
}

// Load implements [keystore.Store]. The first call returns the copy if Redis cannot be
// reached.
func (s *store) Load(ctx context.Context) ([]*keystore.App, error) {
	apps, err := s.load(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil || s.loaded || !unreachable(err) {
		return apps, err
	}
	if s.kept == nil {
		return nil, s.withoutCopy(err)
	}
	apps, copyErr := s.kept.apps()
	if copyErr != nil {
		return nil, errors.Join(err, fmt.Errorf("the copy %s cannot be used: %w", s.copy.Load().path, copyErr))
	}
	s.loaded, s.stale, s.awaySince = true, true, time.Now()
	s.log.Warn("redis cannot be reached: the apps and keys are those of the last copy, and cannot be changed until it is back",
		zap.String("copy", s.copy.Load().path), zap.Int("apps", len(apps)), zap.Error(err))
	return apps, nil
}

func (s *store) load(ctx context.Context) (apps []*keystore.App, err error) {
	version, _, err := s.look(ctx) // before the records, so that later changes are noticed
	if err != nil {
		return nil, err
	}
	if err := s.checkVersion(version); err != nil {
		return nil, err
	}
	ids, err := s.ids(ctx)
	if err != nil {
		return nil, err
	}
	if ids, err = s.withUnlisted(ctx, ids); err != nil {
		return nil, err
	}
	records := make(map[string]json.RawMessage, len(ids))
	for len(ids) > 0 {
		n := min(batch, len(ids))
		found, err := s.read(ctx, ids[:n])
		if err != nil {
			return nil, err
		}
		for id, record := range found {
			app, err := s.decode(id, record)
			if err != nil {
				// The others must not stay as they are because of this one.
				if record = s.knownRecord(id); record == nil {
					return nil, err
				}
				if app, err = keystore.Decode(id, record); err != nil {
					return nil, err
				}
			}
			apps = append(apps, app)
			records[id] = record
		}
		ids = ids[n:]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records, s.loaded, s.stale, s.kept = records, true, false, nil
	s.seen = max(s.seen, version)
	maps.DeleteFunc(s.unreadable, func(id string, _ error) bool { return records[id] == nil })
	s.markDirty()
	return apps, nil
}

// ids returns the ids of all apps, and of some that do not exist.
func (s *store) ids(ctx context.Context) (ids []string, err error) {
	err = s.call(ctx, func(ctx context.Context, c rueidis.Client) error {
		ids, err = c.Do(ctx, c.B().Zrange().Key(s.names.index).Min("0").Max("-1").Build()).AsStrSlice()
		return err
	})
	return ids, err
}

// read returns the records of those apps that exist.
func (s *store) read(ctx context.Context, ids []string) (map[string]json.RawMessage, error) {
	records := make(map[string]json.RawMessage, len(ids))
	err := s.call(ctx, func(ctx context.Context, c rueidis.Client) error {
		commands := make(rueidis.Commands, 0, len(ids))
		for _, id := range ids {
			commands = append(commands, c.B().Get().Key(s.names.app(id)).Build())
		}
		for i, result := range c.DoMulti(ctx, commands...) {
			record, err := result.AsBytes()
			if rueidis.IsRedisNil(err) {
				continue
			}
			if err != nil {
				return fmt.Errorf("reading app %q: %w", ids[i], s.server.explain(err))
			}
			records[ids[i]] = record
		}
		return nil
	})
	return records, err
}

// Get implements [keystore.Store].
func (s *store) Get(ctx context.Context, id string) (*keystore.App, error) {
	if s.isLost() {
		return nil, s.errLost()
	}
	records, err := s.read(ctx, []string{id})
	if err != nil {
		return nil, err
	}
	record, ok := records[id]
	if !ok {
		// It is deleted, or all are lost.
		version, _, err := s.look(ctx)
		if err == nil {
			err = s.checkVersion(version)
		}
		if err != nil {
			return nil, err
		}
		s.note(id, nil)
		return nil, nil
	}
	app, err := s.decode(id, record)
	if err != nil {
		return nil, err
	}
	s.note(id, record)
	return app, nil
}

// decode reads a record. One that is unreadable is logged once; the app stays as it is
// known, with the keys that were valid then, and Check fails.
func (s *store) decode(id string, record []byte) (*keystore.App, error) {
	app, err := keystore.Decode(id, record)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		delete(s.unreadable, id)
		return app, nil
	}
	if s.unreadable[id] == nil && s.loaded {
		s.log.Error("an app cannot be read, and stays as it was known here, also its keys; all machines need the same version of the gateway", zap.String("app", id), zap.Error(err))
	}
	if s.unreadable == nil {
		s.unreadable = make(map[string]error)
	}
	s.unreadable[id] = err
	return nil, err
}

// knownRecord returns the last record of an app that was readable, or nil.
func (s *store) knownRecord(id string) json.RawMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.records[id]
}

// note keeps a record for the copy; nil is that of an app that is gone. The registry
// makes one call at a time, so that an older record does not replace a newer one.
func (s *store) note(id string, record []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.records == nil { // before Load, which finds it
		return
	}
	kept, ok := s.records[id]
	switch {
	case record == nil && !ok, record != nil && string(kept) == string(record):
		return
	case record == nil:
		delete(s.records, id)
		delete(s.unreadable, id)
	default:
		s.records[id] = record
	}
	s.markDirty()
}

// Put implements [keystore.Store].
func (s *store) Put(ctx context.Context, before, after *keystore.App) error {
	record, err := keystore.Encode(after)
	if err != nil {
		return err
	}
	err = s.change(ctx, after.ID, before, false, func(ctx context.Context, expected string) (result int64, err error) {
		err = s.call(ctx, func(ctx context.Context, c rueidis.Client) error {
			result, err = s.server.write(ctx, c, scriptSwap, []string{s.names.app(after.ID)}, []string{expected, string(record)}).AsInt64()
			return err
		})
		return result, err
	})
	if err == nil {
		s.note(after.ID, record)
	}
	return err
}

// Delete implements [keystore.Store].
func (s *store) Delete(ctx context.Context, before *keystore.App) error {
	id := before.ID
	err := s.change(ctx, id, before, true, func(ctx context.Context, expected string) (result int64, err error) {
		err = s.call(ctx, func(ctx context.Context, c rueidis.Client) error {
			result, err = s.server.write(ctx, c, scriptRemove, []string{s.names.app(id), s.names.used(id)}, []string{expected}).AsInt64()
			return err
		})
		return result, err
	})
	if err == nil {
		s.note(id, nil)
	}
	return err
}

// change makes a change in three steps; see scriptBegin. write is the second one. It
// gets the expected record, "" for none.
func (s *store) change(ctx context.Context, id string, before *keystore.App, remove bool, write func(ctx context.Context, expected string) (int64, error)) error {
	var expected []byte
	if before != nil {
		var err error
		if expected, err = keystore.Encode(before); err != nil {
			return err
		}
	}
	number, err := s.begin(ctx, id)
	if err != nil {
		return err
	}
	result, err := write(ctx, string(expected))
	for tries := 0; err == nil && result == differs && before != nil && tries < maxSwaps; tries++ {
		// Another version of this program may write the same app differently.
		kept, readErr := s.sameRecord(ctx, id, expected)
		if readErr != nil || kept == nil {
			err = readErr
			break
		}
		result, err = write(ctx, string(kept))
	}
	if errors.Is(err, errUnconfirmed) { // it was made, and the other gateways must know
		_ = s.endUnanswered(id, number)
	}
	if err != nil {
		return err // the change stays pending, and is ended later
	}
	gone := result == vanished || result == swapped && remove
	if err := s.end(ctx, s.server.write, id, number, gone, result == swapped); err != nil {
		return err
	}
	if result == swapped || result == vanished && remove {
		return nil
	}
	return keystore.ErrConflict
}

// sameRecord returns the stored record of an app if it means the same as another one,
// otherwise nil.
func (s *store) sameRecord(ctx context.Context, id string, record []byte) ([]byte, error) {
	records, err := s.read(ctx, []string{id})
	if err != nil {
		return nil, err
	}
	app, err := keystore.Decode(id, records[id])
	if err != nil {
		return nil, nil //nolint:nilerr // it is another record, which Get reports
	}
	if again, err := keystore.Encode(app); err != nil || string(again) != string(record) {
		return nil, nil //nolint:nilerr // the same
	}
	return records[id], nil
}

// begin is the first step of a change, and returns its number.
func (s *store) begin(ctx context.Context, id string) (number int64, err error) {
	n := s.names
	err = s.call(ctx, func(ctx context.Context, c rueidis.Client) error {
		number, err = scriptBegin.Exec(ctx, c, []string{n.index, n.begun, n.pending, n.version}, []string{id, flag(s.known() > 0)}).AsInt64()
		return err
	})
	if err == nil && number < 0 {
		err = s.errLost()
	}
	return number, err
}

// end is the last step of a change. write is [Server.write], or run where nobody waits for
// an answer.
func (s *store) end(ctx context.Context, write writer, id string, number int64, gone, changed bool) error {
	n := s.names
	return s.call(ctx, func(ctx context.Context, c rueidis.Client) error {
		answer, err := write(ctx, c, scriptEnd, []string{n.index, n.pending, n.version},
			[]string{id, strconv.FormatInt(number, 10), flag(gone), flag(changed), n.channel}).ToArray()
		if err != nil {
			return err
		}
		if len(answer) != 2 {
			return fmt.Errorf("ending a change: %d values, not 2", len(answer))
		}
		version, err := answer[0].AsInt64()
		if err != nil {
			return err
		}
		if changed {
			s.advance(version)
		}
		refusal, err := answer[1].ToString()
		if err == nil {
			s.noteRefusal(refusal)
		}
		return err
	})
}

func flag(on bool) string {
	if on {
		return "1"
	}
	return "0"
}

// noteRefusal logs once that Redis does not publish.
func (s *store) noteRefusal(refusal string) {
	s.mu.Lock()
	before := s.unpublished
	s.unpublished = refusal != ""
	s.mu.Unlock()
	if refusal != "" && !before {
		s.log.Warn("redis does not publish changes of the keystore, so other gateways load all apps after each; allow the command PUBLISH and the channel",
			zap.String("channel", s.names.channel), zap.String("answer", refusal))
	}
}

// Check implements [keystore.Store].
func (s *store) Check(ctx context.Context) error {
	version, _, err := s.look(ctx)
	if err != nil {
		return err
	}
	if err := s.checkVersion(version); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, err := range s.unreadable {
		return err
	}
	return nil
}

// Close implements [keystore.Store]. It waits for a call in progress, but not longer
// than for callTimeout.
func (s *store) Close() error {
	s.stop()
	s.work.Wait()
	if client, _ := s.connection(); client != nil {
		client.Close()
	}
	return nil
}

// Interface guards
var _ keystore.UsedReader = (*store)(nil)
