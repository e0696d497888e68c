package realtime

import (
	"sync"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// sockets knows the sockets of each app, connected and connecting, so that a
// change of its keys or origins reaches them.
type sockets struct {
	mu       sync.Mutex // guards all below
	byApp    map[string]map[*socket]struct{}
	admitted map[string]int // of each app, those that were let in; none that is 0
}

// add is called before a socket's credentials are checked: a change to the
// app is then either seen by the check, or finds the socket here.
func (s *sockets) add(app string, sock *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byApp == nil {
		s.byApp = make(map[string]map[*socket]struct{})
	}
	if s.byApp[app] == nil {
		s.byApp[app] = make(map[*socket]struct{})
	}
	s.byApp[app][sock] = struct{}{}
}

// admit lets in a socket that was added, unless limit others of its app are in;
// 0 is no limit. Only sockets that were let in count: others need no key to be
// here.
func (s *sockets) admit(app string, limit int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if limit > 0 && s.admitted[app] >= limit {
		return false
	}
	if s.admitted == nil {
		s.admitted = make(map[string]int)
	}
	s.admitted[app]++
	return true
}

// leave removes a socket that was let in.
func (s *sockets) leave(app string, sock *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.admitted[app]--; s.admitted[app] == 0 {
		delete(s.admitted, app)
	}
	s.drop(app, sock)
}

// remove removes a socket that was not let in.
func (s *sockets) remove(app string, sock *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(app, sock)
}

// drop needs mu.
func (s *sockets) drop(app string, sock *socket) {
	delete(s.byApp[app], sock)
	if len(s.byApp[app]) == 0 {
		delete(s.byApp, app)
	}
}

// of returns an app's sockets, also those that are connecting, in no order.
func (s *sockets) of(app string) []*socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*socket, 0, len(s.byApp[app]))
	for sock := range s.byApp[app] {
		list = append(list, sock)
	}
	return list
}

// all returns the sockets of all apps, in no order.
func (s *sockets) all() []*socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*socket
	for _, sockets := range s.byApp {
		for sock := range sockets {
			list = append(list, sock)
		}
	}
	return list
}

// recheck disconnects sockets whose key or origin the app no longer accepts.
// now is nil if the app was deleted. Stock clients do not reconnect by
// themselves after it.
func (s *sockets) recheck(id string, now *keystore.App) {
	for _, sock := range s.of(id) {
		if now == nil || !sock.mayStay(now) {
			sock.conn.Disconnect("credentials withdrawn")
		} else if !sock.mayStayFrom(now) {
			sock.conn.Disconnect("origin withdrawn")
		}
	}
}
