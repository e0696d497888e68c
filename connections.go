package realtime

import (
	"slices"
	"strings"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/manage"
)

// Count implements manage.Sockets.
func (s *sockets) Count(app string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.admitted[app]
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

// Find implements manage.Sockets.
func (s *sockets) Find(app, id string) (manage.Connection, bool) {
	if sock := s.find(app, id); sock != nil {
		return sock.view(), true
	}
	return manage.Connection{}, false
}

// Disconnect implements manage.Sockets.
func (s *sockets) Disconnect(app, id, reason string) bool {
	sock := s.find(app, id)
	if sock == nil {
		return false
	}
	sock.conn.Disconnect(reason)
	return true
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

func (s *socket) view() manage.Connection {
	c := manage.Connection{
		ID:        s.conn.ID(),
		ClientIP:  s.visitor.ip,
		Key:       s.key.Load().ID,
		Transport: s.conn.Session().Transport(),
		Connected: time.Unix(s.since.Load(), 0).UTC(),
		Channels:  s.member.Channels(),
	}
	if origin := s.visitor.origin.Get("Origin"); origin != "" {
		c.Origin = &origin
	}
	return c
}

// Interface guard
var _ manage.Sockets = (*sockets)(nil)
