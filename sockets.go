package realtime

import (
	"sync"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// sockets knows the connected sockets of each app, so that a change of its
// keys reaches them.
type sockets struct {
	mu    sync.Mutex // guards byApp
	byApp map[string]map[*socket]struct{}
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

func (s *sockets) remove(app string, sock *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byApp[app], sock)
	if len(s.byApp[app]) == 0 {
		delete(s.byApp, app)
	}
}

// count is the number of an app's sockets.
func (s *sockets) count(app string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byApp[app])
}

// of returns an app's sockets, in no order.
func (s *sockets) of(app string) []*socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*socket, 0, len(s.byApp[app]))
	for sock := range s.byApp[app] {
		list = append(list, sock)
	}
	return list
}

// byKey counts an app's sockets by the id of the key that let them in.
func (s *sockets) byKey(app string) map[string]int {
	count := make(map[string]int)
	for _, sock := range s.of(app) {
		if key := sock.key.Load(); key != nil {
			count[key.ID]++
		}
	}
	return count
}

// recheck disconnects the sockets whose credentials their app as it is now, nil
// if it is gone, does not take any more. Stock clients do not come back by
// themselves after it.
func (s *sockets) recheck(id string, now *keystore.App) {
	for _, sock := range s.of(id) {
		if now == nil || !sock.mayStay(now) {
			sock.conn.Disconnect("credentials withdrawn")
		}
	}
}
