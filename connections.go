package realtime

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

// Count implements manage.Sockets.
func (s *sockets) Count(app string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.admitted[app]
}

// counts returns the numbers of sockets by app.
func (s *sockets) counts() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.admitted)
}

// total returns the number of all sockets.
func (s *sockets) total() (n int) {
	for _, count := range s.counts() {
		n += count
	}
	return n
}

// CountByKey implements manage.Sockets.
func (s *sockets) CountByKey(app string) map[string]int {
	count := make(map[string]int)
	for _, sock := range s.of(app) {
		if sock.since.Load() != 0 {
			count[sock.key.Load().ID]++
		}
	}
	return count
}

// List implements manage.Sockets. It scans all sockets of the app: it is meant for
// people, not for programs that poll.
func (s *sockets) List(app, channel, after string, limit int) (page []manage.Connection, next string) {
	found := slices.DeleteFunc(s.of(app), func(sock *socket) bool {
		return sock.since.Load() == 0 || sock.conn.ID() <= after ||
			channel != "" && !slices.Contains(sock.member.Channels(), channel)
	})
	return pageOf(found, limit)
}

// pageOf returns the views of the first sockets in order of their IDs, and the ID to
// go on after, if there are more.
func pageOf(found []*socket, limit int) (page []manage.Connection, next string) {
	slices.SortFunc(found, func(a, b *socket) int { return strings.Compare(a.conn.ID(), b.conn.ID()) })
	if len(found) > limit {
		found = found[:limit]
		next = found[limit-1].conn.ID()
	}
	page = make([]manage.Connection, 0, len(found))
	for _, sock := range found {
		page = append(page, sock.view())
	}
	return page, next
}

// userNames returns a page of the users who have sockets.
func (s *sockets) userNames(app, after string, limit int) (page []string, next string) {
	s.mu.Lock()
	for of := range s.users {
		if of.app == app && of.user > after {
			page = append(page, of.user)
		}
	}
	s.mu.Unlock()
	slices.Sort(page)
	if len(page) > limit {
		page = page[:limit]
		next = page[limit-1]
	}
	return page, next
}

// Find implements manage.Sockets.
func (s *sockets) Find(app, id string) (manage.Connection, bool, error) {
	if sock := s.find(app, id); sock != nil {
		return sock.view(), true, nil
	}
	return manage.Connection{}, false, nil
}

// Disconnect implements manage.Sockets.
func (s *sockets) Disconnect(app, id, reason string) (bool, error) {
	sock := s.find(app, id)
	if sock == nil {
		return false, nil
	}
	sock.disconnect(reason)
	return true, nil
}

// find returns a connected socket of an app, or nil.
func (s *sockets) find(app, id string) *socket {
	for _, sock := range s.of(app) {
		if sock.since.Load() != 0 && sock.conn.ID() == id { // before, the ID can change
			return sock
		}
	}
	return nil
}

// gatewaySockets are the sockets with what only the hub knows of them.
type gatewaySockets struct {
	*sockets
	runtime *runtime
}

// ofUser returns a user's sockets.
func (s gatewaySockets) ofUser(app, user string) []*socket {
	var all []*socket
	for _, sub := range s.runtime.hub.In(app, userChannel(user)) {
		if sock := sub.(*socket); sock.since.Load() != 0 {
			all = append(all, sock)
		}
	}
	return all
}

// ListUser implements manage.Sockets.
func (s gatewaySockets) ListUser(app, user, after string, limit int) (page []manage.Connection, next string, all int) {
	found := s.ofUser(app, user)
	all = len(found)
	page, next = pageOf(slices.DeleteFunc(found, func(sock *socket) bool { return sock.conn.ID() <= after }), limit)
	return page, next, all
}

// Users implements manage.Sockets. Like List, it is meant for people.
func (s gatewaySockets) Users(app, after string, limit, perUser int) (page []manage.UserSockets, next string) {
	names, next := s.userNames(app, after, limit)
	for _, name := range names {
		u := manage.UserSockets{User: name}
		u.Connections, u.Next, u.Sockets = s.ListUser(app, name, "", perUser)
		page = append(page, u)
	}
	return page, next
}

// DisconnectUser implements manage.Sockets.
func (s gatewaySockets) DisconnectUser(app, user, reason string, before func() error) (int, error) {
	found := s.ofUser(app, user)
	if err := before(); err != nil {
		return 0, err
	}
	isUser := func(owner hub.Owner) bool {
		r, ok := owner.(*rights)
		return ok && r.name() == user || !ok && owner != nil && owner.User() == user
	}
	// A socket whose client comes back or goes away meanwhile is found once.
	s.runtime.hub.EndAwayOf(app, isUser)
	for _, sock := range append(found, s.ofUser(app, user)...) {
		sock.disconnect(reason)
	}
	s.runtime.hub.EndAwayOf(app, isUser)
	return len(found), nil
}

func (s *socket) view() manage.Connection {
	c := manage.Connection{
		ID:        s.conn.ID(),
		ClientIP:  s.visitor.ip,
		Key:       s.key.Load().ID,
		Transport: s.conn.Session().Transport(),
		Connected: time.Unix(s.since.Load(), 0).UTC(),
		Channels:  s.member.Channels(),
	}
	if user := s.rights.Load().name(); user != "" {
		c.User = &user
	}
	if origin := s.visitor.origin.Get("Origin"); origin != "" {
		c.Origin = &origin
	}
	return c
}

// Interface guard
var _ manage.Sockets = gatewaySockets{}
