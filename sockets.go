package realtime

import (
	"sync"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// sockets tracks the connected and connecting sockets of each app, so that changes
// to the app's keys or origins reach them.
type sockets struct {
	mu       sync.Mutex // guards the fields below
	byApp    map[string]map[*socket]struct{}
	admitted map[string]int // admitted sockets by app, without zeros
	users    map[userOf]int // admitted sockets by user, without zeros
}

// A userOf is a user of an app.
type userOf struct{ app, user string }

// enter counts a socket as one of a user, unless that is "", the socket is counted
// already, or the user has limit sockets; 0 means no limit. Only then it returns
// false.
func (s *sockets) enter(sock *socket, user string, limit int) bool {
	r := sock.rights.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	if user == "" || r.counted != "" {
		return true
	}
	of := userOf{sock.app, user}
	if limit > 0 && s.users[of] >= limit {
		return false
	}
	if s.users == nil {
		s.users = make(map[userOf]int)
	}
	s.users[of]++
	r.counted = user
	return true
}

// exit undoes enter.
func (s *sockets) exit(sock *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetUser(sock)
}

// forgetUser counts a socket no longer as one of its user. The caller must hold mu.
func (s *sockets) forgetUser(sock *socket) {
	r := sock.rights.Load()
	if r == nil || r.counted == "" {
		return
	}
	of := userOf{sock.app, r.counted}
	r.counted = ""
	if s.users[of]--; s.users[of] == 0 {
		delete(s.users, of)
	}
}

// add must be called before a socket's credentials are checked: the check then
// either sees a concurrent change to the app, or the change finds the socket here.
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

// admit admits an added socket unless its app already has limit admitted sockets;
// 0 means no limit. Only admitted sockets count, because the others are here
// without having presented a valid key.
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

// hold admits a socket over any limit.
func (s *sockets) hold(app string) { s.admit(app, 0) }

// release undoes hold.
func (s *sockets) release(app string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.discount(app)
}

// leave removes an admitted socket, unless it was removed.
func (s *sockets) leave(app string, sock *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.byApp[app][sock]; ok {
		s.discount(app)
		s.drop(app, sock)
		s.forgetUser(sock)
	}
}

// discount counts an admitted socket no longer. The caller must hold mu.
func (s *sockets) discount(app string) {
	if s.admitted[app]--; s.admitted[app] == 0 {
		delete(s.admitted, app)
	}
}

// remove removes a socket that was not admitted.
func (s *sockets) remove(app string, sock *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(app, sock)
}

// drop removes a socket. The caller must hold mu.
func (s *sockets) drop(app string, sock *socket) {
	delete(s.byApp[app], sock)
	if len(s.byApp[app]) == 0 {
		delete(s.byApp, app)
	}
}

// of returns an app's sockets, connected and connecting, in no particular order.
func (s *sockets) of(app string) []*socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*socket, 0, len(s.byApp[app]))
	for sock := range s.byApp[app] {
		list = append(list, sock)
	}
	return list
}

// all returns the sockets of all apps, in no particular order.
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

// recheck disconnects sockets whose key or origin the app no longer accepts, and
// takes the others out of channels that they may no longer be in. now is nil if the
// app was deleted. Stock clients do not reconnect automatically afterwards.
func (s *sockets) recheck(id string, now *keystore.App) {
	for _, sock := range s.of(id) {
		if now == nil || !sock.mayStay(now) {
			sock.disconnect("credentials withdrawn")
		} else if !sock.mayStayFrom(now) {
			sock.disconnect("origin withdrawn")
		} else {
			sock.recheck()
		}
	}
}
