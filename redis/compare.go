package redis

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/redis/rueidis"
	"github.com/seed-c079cc48/caddy-realtime/cluster"
	"github.com/seed-c079cc48/caddy-realtime/hub"
)

// hashChunk bounds the hashes that are read in one round trip.
const hashChunk = 50

// readHashes reads hashes of one slot. It needs no script: what a script is answered by
// one command costs Redis the square of its size.
func (b *broker) readHashes(ctx context.Context, keys ...string) ([]map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	client, err := b.connection()
	if err != nil {
		return nil, err
	}
	all := make([]map[string]string, len(keys))
	return all, patiently(ctx, func() error {
		commands := make([]rueidis.Completed, len(keys))
		for i, key := range keys {
			commands[i] = client.B().Hgetall().Key(key).Build()
		}
		for i, answer := range client.DoMulti(ctx, commands...) {
			if all[i], err = answer.AsStrMap(); err != nil {
				return err
			}
		}
		return nil
	})
}

// compareAll makes what Redis has of this machine in the lane what is.
func (r *register) compareAll(ctx context.Context, m cluster.Members) error {
	id := r.broker.member().id
	if r.lost {
		for _, s := range r.lane.all() {
			s.doubt()
		}
		r.lost = false
	}
	mark, has, err := r.broker.beginSaying(ctx, r.lane.name, id)
	if err != nil {
		return err
	}
	r.mark = mark
	all := make(map[string]map[string][]cluster.ChannelMember) // by app and channel
	for _, at := range has {
		all[at.app] = withUsers(all[at.app], at.channel)
	}
	for _, s := range r.lane.all() {
		if !hub.IsHidden(s.channel) {
			all[s.app.id] = withUsers(all[s.app.id], s.channel, cluster.ChannelMember{})
		}
	}
	m.EachHere(func(app, name string, members []cluster.ChannelMember) {
		if r.broker.lane(app) == r.lane {
			all[app] = withUsers(all[app], name, members...)
		}
	})
	for app, channels := range all {
		known, err := r.broker.sayAll(ctx, r.lane.name, app, id, r.mark, channels)
		if err == nil && !known {
			err = errMark
		}
		if err != nil {
			return err
		}
	}
	return nil
}

var errMark = errors.New("another machine has removed what this one has said meanwhile")

func withUsers(channels map[string][]cluster.ChannelMember, name string, more ...cluster.ChannelMember) map[string][]cluster.ChannelMember {
	if channels == nil {
		channels = make(map[string][]cluster.ChannelMember)
	}
	channels[name] = append(channels[name], more...)
	return channels
}

// sayAll makes what Redis has of a machine in channels of an app what is in all. It
// returns false if the machine has another mark.
//
// Nobody else changes what Redis has under the mark, so it can be read before.
func (b *broker) sayAll(ctx context.Context, lane, app, machine, mark string, all map[string][]cluster.ChannelMember) (known bool, err error) {
	base, m := baseName(b.prefix, app), b.shared()
	var says []say
	for names := range slices.Chunk(slices.Collect(maps.Keys(all)), hashChunk) {
		keys := make([]string, len(names))
		for i, name := range names {
			keys[i] = membersKey(base, name)
		}
		hashes, err := b.readHashes(ctx, keys...)
		if err != nil {
			return false, err
		}
		for i, name := range names {
			facts := factsOf(m, app, name)
			for _, s := range difference(hashes[i], machine, all[name]) {
				s.channel, s.facts = name, facts
				says = append(says, s)
			}
		}
	}
	for some := range slices.Chunk(says, sayBatch) {
		if known, err := b.say(ctx, lane, app, machine, mark, some); err != nil || !known {
			return false, err
		}
	}
	return true, nil
}

// difference returns what a machine has to say so that the hash of a channel, as in
// presence.lua, has it with these users. Users leave before the channel is vacated, and
// join after it is occupied.
func difference(hash map[string]string, machine string, users []cluster.ChannelMember) (says []say) {
	here := make(map[string]cluster.ChannelMember)
	for field, value := range hash {
		user, is := strings.CutPrefix(field, "u")
		machines, info, _ := strings.Cut(value, " ")
		if is && includes(machines, machine) {
			here[user] = cluster.ChannelMember{User: user, Info: []byte(info)}
		}
	}
	for _, u := range users {
		if known, is := here[u.User]; !is || string(known.Info) != string(u.Info) {
			says = append(says, say{what: sayAdd, user: u})
		}
		delete(here, u.User)
	}
	for _, user := range slices.Backward(slices.Sorted(maps.Keys(here))) {
		says = append(says, say{what: sayRemove, user: here[user]})
	}
	return says
}

// includes reports whether a machine is among those whose IDs, all of the same length, are
// written without anything between them.
func includes(machines, id string) bool {
	for ; len(machines) >= len(id); machines = machines[len(id):] {
		if strings.HasPrefix(machines, id) {
			return true
		}
	}
	return false
}
