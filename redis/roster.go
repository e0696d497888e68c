package redis

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"
	"github.com/seed-c079cc48/caddy-realtime/cluster"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"go.uber.org/zap"
)

// A rosterCopy says how much this machine knows of a channel's members. The worker of the app
// keeps it up to date, with notices that Redis sends among the channel's messages. They
// are not kept: after each interruption, all members are read again.
//
// Where Redis has lost its data, the machines say again what they have. Until all that
// live have done so, nobody is missing from the copy who is missing in Redis.
type rosterCopy struct {
	mu    sync.Mutex   // guards everything below; held while Members is called
	kept  bool         // the members are known
	at    hub.Position // the last change that is known
	ended bool         // the last subscriber has left

	// doubtful is until when Redis may not have all members; zero if it has.
	doubtful time.Time
}

// A notice is a change of a channel's members.
//
//	\x02 <+, - or i> SP <epoch> SP <number of the channel's change before> SP <number> SP <length of user> LF <user> <info>
type notice struct {
	what   byte
	at     hub.Position // of an app's changes, not of its messages
	before uint64
	user   string
	info   json.RawMessage
}

const noticeVersion = "\x02"

func isNotice(text string) bool { return strings.HasPrefix(text, noticeVersion) }

func readNotice(text string) (n notice, err error) {
	head, rest, found := strings.Cut(text, "\n")
	parts := strings.Split(strings.TrimPrefix(head, noticeVersion), " ")
	if !found || len(parts) != 5 || len(parts[0]) != 1 {
		return n, errEnvelope
	}
	n.what, n.at.Epoch = parts[0][0], parts[1]
	var errs [3]error
	var size uint64
	n.before, errs[0] = strconv.ParseUint(parts[2], 10, 64)
	n.at.Offset, errs[1] = strconv.ParseUint(parts[3], 10, 64)
	size, errs[2] = strconv.ParseUint(parts[4], 10, 31)
	if errors.Join(errs[:]...) != nil || size > uint64(len(rest)) || n.at.Epoch == "" || !strings.ContainsRune("+-i", rune(n.what)) {
		return n, errEnvelope
	}
	n.user = rest[:size]
	if size < uint64(len(rest)) {
		n.info = json.RawMessage(rest[size:])
	}
	return n, nil
}

// A roster is the members of a channel at some time.
type roster struct {
	at      hub.Position
	members []cluster.ChannelMember
}

var errRoster = errors.New("redis has something else than a channel's members; keys with this prefix belong to the broker alone")

// readRosters reads the members of channels. First the number of the app's last change:
// a change in between is in the members, and applying it once more does nothing.
func (a *app) readRosters(ctx context.Context, channels ...string) ([]roster, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	keys := make([]string, len(channels))
	for i, channel := range channels {
		keys[i] = a.membersKey(channel)
	}
	for {
		at, err := a.lastChange(ctx)
		if err != nil {
			return nil, err
		}
		hashes, err := a.broker.readHashes(ctx, keys...)
		if err != nil {
			return nil, err
		}
		after, err := a.lastChange(ctx)
		if err != nil {
			return nil, err
		}
		if after.Epoch != at.Epoch { // Redis has lost its data meanwhile
			continue
		}
		all := make([]roster, len(channels))
		for i, hash := range hashes {
			all[i] = roster{at: at, members: membersIn(hash)}
		}
		return all, nil
	}
}

// lastChange returns the epoch and number of the last change of the app's members.
func (a *app) lastChange(ctx context.Context) (at hub.Position, err error) {
	err = patiently(ctx, func() error {
		at, err = positionIn(a.broker.do(ctx, func(c rueidis.Builder) rueidis.Completed {
			return c.Hmget().Key(a.changesKey()).Field("e", "n").Build()
		}))
		return err
	})
	if errors.Is(err, errPosition) {
		err = errRoster
	}
	return at, err
}

// membersIn reads users and infos from the hash of a channel.
func membersIn(hash map[string]string) (all []cluster.ChannelMember) {
	for field, value := range hash {
		user, is := strings.CutPrefix(field, "u")
		_, info, found := strings.Cut(value, " ")
		if !is || user == "" || !found {
			continue
		}
		m := cluster.ChannelMember{User: user}
		if info != "" {
			m.Info = json.RawMessage(info)
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b cluster.ChannelMember) int { return strings.Compare(a.User, b.User) })
	return all
}

// hasMembers reports whether the members of a channel are to be known.
func (a *app) hasMembers(channel string) bool {
	m := a.broker.shared()
	return m != nil && !hub.IsHidden(channel) && m.Has(a.id, channel)
}

// use makes a roster what this machine knows.
func (s *subscription) use(r *roster) {
	s.copy.mu.Lock()
	defer s.copy.mu.Unlock()
	if s.copy.ended {
		return
	}
	lost := s.copy.at.Epoch != r.at.Epoch || r.at.Offset < s.copy.at.Offset
	if c := &s.copy; c.kept && c.at.Epoch != "" && lost && c.doubtful.IsZero() {
		c.doubtful = time.Now().Add(s.app.broker.lease)
	}
	s.copy.kept, s.copy.at = true, r.at
	m := s.app.broker.shared()
	if time.Now().Before(s.copy.doubtful) {
		for _, u := range r.members {
			m.Set(s.app.id, s.channel, u.User, u.Info, true)
		}
		return
	}
	s.copy.doubtful = time.Time{}
	m.Replace(s.app.id, s.channel, r.members)
}

// doubt notes that Redis has lost its data.
func (s *subscription) doubt() {
	s.copy.mu.Lock()
	defer s.copy.mu.Unlock()
	if s.copy.kept {
		s.copy.doubtful = time.Now().Add(s.app.broker.lease)
	}
}

// settle has the members read once Redis has all of them again.
func (s *subscription) settle() {
	s.copy.mu.Lock()
	due := !s.copy.doubtful.IsZero() && time.Now().After(s.copy.doubtful)
	s.copy.mu.Unlock()
	if due {
		s.app.push(item{sub: s, text: noticeVersion})
	}
}

// end forgets the members.
func (s *subscription) end() {
	m := s.app.broker.shared()
	if m == nil {
		return
	}
	s.copy.mu.Lock()
	defer s.copy.mu.Unlock()
	s.copy.ended = true
	if s.copy.kept {
		m.Forgotten(s.app.id, s.channel)
	}
}

// apply applies a notice. It returns false if the members must be read instead, because
// they were not, or a notice before this one is missing.
func (s *subscription) apply(n *notice) bool {
	c := &s.copy
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.ended:
		return true
	case !c.kept, n.at.Epoch != c.at.Epoch:
		return false
	case n.at.Offset <= c.at.Offset:
		return true
	case n.before > c.at.Offset:
		return false
	}
	c.at = n.at
	s.app.broker.shared().Set(s.app.id, s.channel, n.user, n.info, n.what != '-')
	return true
}

// takeNotice applies a notice that was received.
func (a *app) takeNotice(s *subscription, text string) {
	if text == noticeVersion { // see settle
		if err := a.refresh(s); err != nil {
			a.fail(err)
		}
		return
	}
	n, err := readNotice(text)
	if err != nil { // of another version: what Redis has of the members may be readable
		a.broker.seldom.Log(a.broker.log.Error, "a change of a channel's members is unreadable; all of them are read again", zap.String("app", a.id), zap.Error(err))
		n.at = hub.Position{Epoch: "unreadable"} // unlike any that is known
	}
	a.mu.Lock()
	is, filled := a.subs[s.channel] == s, s.filled
	if is && !filled && !s.tooEarly() { // the members are being read
		s.news = append(s.news, n)
		s.earlyBytes += len(text)
	}
	a.mu.Unlock()
	if is && filled && a.broker.shared() != nil {
		a.change(s, n)
	}
}

// change applies notices, or reads the members again.
func (a *app) change(s *subscription, all ...notice) {
	for i := range all {
		if s.apply(&all[i]) {
			continue
		}
		if err := a.refresh(s); err != nil {
			a.fail(err)
			return
		}
	}
}

// refresh reads the members of channels again. Only the worker calls it.
func (a *app) refresh(subs ...*subscription) error {
	for some := range slices.Chunk(subs, hashChunk) {
		channels := make([]string, len(some))
		for i, s := range some {
			channels[i] = s.channel
		}
		all, err := a.readRosters(a.broker.ctx, channels...)
		if err != nil {
			return err
		}
		for i, s := range some {
			s.use(&all[i])
		}
	}
	return nil
}

// refreshAll reads the members of all channels that have them again, after notices may
// have been lost.
func (a *app) refreshAll() error {
	var subs []*subscription
	a.mu.Lock()
	for _, s := range a.subs {
		if s.filled {
			subs = append(subs, s)
		}
	}
	a.mu.Unlock()
	return a.refresh(slices.DeleteFunc(subs, func(s *subscription) bool {
		s.copy.mu.Lock()
		defer s.copy.mu.Unlock()
		return !s.copy.kept && !a.hasMembers(s.channel)
	})...)
}
