package realtime

import (
	"maps"
	"slices"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/manage"
	"github.com/seed-c079cc48/caddy-realtime/presence"
)

// The questions that machines ask each other for operators.
const (
	questionCounts         = "counts"
	questionCountByKey     = "count by key"
	questionList           = "list"
	questionFind           = "find"
	questionDisconnect     = "disconnect"
	questionUsers          = "users"
	questionListUser       = "list user"
	questionDisconnectUser = "disconnect user"
	questionChannels       = "channels"
	questionSubscribers    = "subscribers"
	questionMembers        = "members"
)

// A viewQuestion is the body of all of them: what the method of that name takes.
type viewQuestion struct {
	App     string `json:"app"`
	ID      string `json:"id,omitempty"` // of a socket, or a user
	Channel string `json:"channel,omitempty"`
	Prefix  string `json:"prefix,omitempty"`
	After   string `json:"after,omitempty"`
	Limit   int    `json:"limit,omitempty"`
	PerUser int    `json:"per_user,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

// A socketPage is an answer of List, ListUser and Find.
type socketPage struct {
	Page []manage.Connection `json:"page"`
	More bool                `json:"more,omitempty"`
	All  int                 `json:"all,omitempty"`
}

type userPage struct {
	Page []manage.UserSockets `json:"page"`
	More bool                 `json:"more,omitempty"`
}

type channelPage struct {
	Page []hub.Occupied `json:"page"`
	More bool           `json:"more,omitempty"`
}

// questionsTo returns what answers the questions, from what this machine has.
func questionsTo(s manage.Sockets, c manage.Channels, counted *sockets, p *presence.Presence) map[string]question {
	return map[string]question{
		questionCounts:     answering(func(struct{}) (map[string]int, error) { return counted.counts(), nil }),
		questionCountByKey: answering(func(q viewQuestion) (map[string]int, error) { return s.CountByKey(q.App), nil }),
		questionList: answering(func(q viewQuestion) (socketPage, error) {
			page, next := s.List(q.App, q.Channel, q.After, q.Limit)
			return socketPage{Page: page, More: next != ""}, nil
		}),
		questionFind: answering(func(q viewQuestion) (socketPage, error) {
			found, ok, err := s.Find(q.App, q.ID)
			if !ok {
				return socketPage{}, err
			}
			return socketPage{Page: []manage.Connection{found}}, nil
		}),
		questionDisconnect: answering(func(q viewQuestion) (bool, error) { return s.Disconnect(q.App, q.ID, q.Reason) }),
		questionUsers: answering(func(q viewQuestion) (userPage, error) {
			page, next := s.Users(q.App, q.After, q.Limit, q.PerUser)
			return userPage{page, next != ""}, nil
		}),
		questionListUser: answering(func(q viewQuestion) (socketPage, error) {
			page, next, all := s.ListUser(q.App, q.ID, q.After, q.Limit)
			return socketPage{page, next != "", all}, nil
		}),
		questionDisconnectUser: answering(func(q viewQuestion) (int, error) {
			return s.DisconnectUser(q.App, q.ID, q.Reason, func() error { return nil })
		}),
		questionChannels: answering(func(q viewQuestion) (channelPage, error) {
			page, more := c.List(q.App, q.Prefix, q.After, q.Limit)
			return channelPage{page, more}, nil
		}),
		questionMembers:     answering(func(q viewQuestion) ([]presence.Member, error) { return p.MembersHere(q.App, q.Channel), nil }),
		questionSubscribers: answering(func(q viewQuestion) (int, error) { return c.Subscribers(q.App, q.Channel), nil }),
	}
}

// allSockets are the sockets of all machines. What a machine has that does not answer
// is missing in lists and numbers.
type allSockets struct {
	manage.Sockets // of this machine
	others         *others
}

// Count implements manage.Sockets. The numbers of other machines are up to countAge old.
func (s allSockets) Count(app string) int {
	n := s.Sockets.Count(app)
	for _, counts := range s.others.counts() {
		n += counts[app]
	}
	return n
}

// CountByKey implements manage.Sockets.
func (s allSockets) CountByKey(app string) map[string]int {
	sum := s.Sockets.CountByKey(app)
	others, _ := askAll[map[string]int](s.others, questionCountByKey, viewQuestion{App: app})
	for _, counts := range others {
		for key, n := range counts {
			sum[key] += n
		}
	}
	return sum
}

// List implements manage.Sockets.
func (s allSockets) List(app, channel, after string, limit int) ([]manage.Connection, string) {
	page, next := s.Sockets.List(app, channel, after, limit)
	others, _ := askAll[socketPage](s.others, questionList, viewQuestion{App: app, Channel: channel, After: after, Limit: limit})
	page, next, _ = mergeSockets(socketPage{Page: page, More: next != ""}, others, limit)
	return page, next
}

// mergeSockets returns the first sockets of several pages, the ID to go on after, and
// how many sockets there are.
func mergeSockets(own socketPage, others map[string]socketPage, limit int) (page []manage.Connection, next string, all int) {
	found, more := make(map[string]manage.Connection), false
	add := func(p socketPage) {
		for _, c := range p.Page {
			found[c.ID] = c
		}
		more = more || p.More
		all += p.All
	}
	add(own)
	for _, other := range others {
		add(other)
	}
	if page, more = cut(ordered(found), limit, more); more {
		next = page[len(page)-1].ID
	}
	return page, next, all
}

// ordered returns the values of a map in the order of its keys.
func ordered[T any](all map[string]T) []T {
	list := make([]T, 0, len(all))
	for _, key := range slices.Sorted(maps.Keys(all)) {
		list = append(list, all[key])
	}
	return list
}

// cut returns the first entries of a merged list, and whether there are more.
func cut[T any](page []T, limit int, more bool) ([]T, bool) {
	if len(page) > limit {
		return page[:limit], true
	}
	return page, more && len(page) > 0
}

// Find implements manage.Sockets.
func (s allSockets) Find(app, id string) (manage.Connection, bool, error) {
	if found, ok, err := s.Sockets.Find(app, id); ok || err != nil {
		return found, ok, err
	}
	others, err := askAll[socketPage](s.others, questionFind, viewQuestion{App: app, ID: id})
	for _, other := range others {
		if len(other.Page) > 0 {
			return other.Page[0], true, nil
		}
	}
	return manage.Connection{}, false, err
}

// Disconnect implements manage.Sockets.
func (s allSockets) Disconnect(app, id, reason string) (bool, error) {
	if found, err := s.Sockets.Disconnect(app, id, reason); found || err != nil {
		return found, err
	}
	others, err := askAll[bool](s.others, questionDisconnect, viewQuestion{App: app, ID: id, Reason: reason})
	for _, found := range others {
		if found {
			return true, nil
		}
	}
	return false, err
}

// ListUser implements manage.Sockets.
func (s allSockets) ListUser(app, user, after string, limit int) ([]manage.Connection, string, int) {
	page, next, all := s.Sockets.ListUser(app, user, after, limit)
	others, _ := askAll[socketPage](s.others, questionListUser, viewQuestion{App: app, ID: user, After: after, Limit: limit})
	return mergeSockets(socketPage{page, next != "", all}, others, limit)
}

// Users implements manage.Sockets.
func (s allSockets) Users(app, after string, limit, perUser int) ([]manage.UserSockets, string) {
	page, next := s.Sockets.Users(app, after, limit, perUser)
	pages := map[string]userPage{"": {page, next != ""}}
	others, _ := askAll[userPage](s.others, questionUsers, viewQuestion{App: app, After: after, Limit: limit, PerUser: perUser})
	maps.Copy(pages, others)
	users, more := make(map[string]manage.UserSockets), false
	for _, other := range pages {
		more = more || other.More
		for _, u := range other.Page {
			of := users[u.User]
			of.User = u.User
			of.Connections, of.Next, of.Sockets = mergeSockets(
				socketPage{of.Connections, of.Next != "", of.Sockets},
				map[string]socketPage{"": {u.Connections, u.Next != "", u.Sockets}}, perUser)
			users[u.User] = of
		}
	}
	if page, more = cut(ordered(users), limit, more); more {
		return page, page[len(page)-1].User
	}
	return page, ""
}

// DisconnectUser implements manage.Sockets. The other machines are asked before, too,
// because what before does may act on them in other ways.
func (s allSockets) DisconnectUser(app, user, reason string, before func() error) (int, error) {
	others, _ := askAll[socketPage](s.others, questionListUser, viewQuestion{App: app, ID: user, Limit: 1})
	n, err := s.Sockets.DisconnectUser(app, user, reason, before)
	if err != nil {
		return n, err
	}
	done, err := askAll[int](s.others, questionDisconnectUser, viewQuestion{App: app, ID: user, Reason: reason})
	for machine, closed := range done {
		n += max(closed, others[machine].All)
	}
	return n, err
}

// allChannels are the channels of all machines.
type allChannels struct {
	manage.Channels // of this machine
	others          *others
}

// List implements manage.Channels.
func (c allChannels) List(app, prefix, after string, limit int) ([]hub.Occupied, bool) {
	page, more := c.Channels.List(app, prefix, after, limit)
	others, _ := askAll[channelPage](c.others, questionChannels, viewQuestion{App: app, Prefix: prefix, After: after, Limit: limit})
	if len(others) == 0 {
		return page, more
	}
	sum := make(map[string]int)
	for _, other := range page {
		sum[other.Channel] += other.Subscribers
	}
	for _, other := range others {
		more = more || other.More
		for _, o := range other.Page {
			sum[o.Channel] += o.Subscribers
		}
	}
	page = page[:0]
	for _, channel := range slices.Sorted(maps.Keys(sum)) {
		page = append(page, hub.Occupied{Channel: channel, Subscribers: sum[channel]})
	}
	return cut(page, limit, more)
}

// Subscribers implements manage.Channels.
func (c allChannels) Subscribers(app, channel string) int {
	n := c.Channels.Subscribers(app, channel)
	others, _ := askAll[int](c.others, questionSubscribers, viewQuestion{App: app, Channel: channel})
	for _, other := range others {
		n += other
	}
	return n
}

// Interface guards
var (
	_ manage.Sockets  = allSockets{}
	_ manage.Channels = allChannels{}
)
