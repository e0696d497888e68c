package webhook

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The types of events. A hook names those that it wants.
const (
	ChannelOccupied  = "channel.occupied"
	ChannelVacated   = "channel.vacated"
	MemberJoined     = "member.joined"
	MemberLeft       = "member.left"
	ConnectionOpened = "connection.opened" // only to hooks that name it
	ConnectionClosed = "connection.closed" // only to hooks that name it
	ClientEvent      = "client_event"
	Rejected         = "rejected"
)

// The types of events that this package makes. Every hook gets them.
const (
	Dropped    = "dropped"     // Count events are missing here
	StateReset = "state.reset" // events may be missing here: fetch the state
	Test       = "test"
)

// Types returns the types of events that a hook can name.
func Types() []string {
	return []string{
		ChannelOccupied, ChannelVacated, MemberJoined, MemberLeft,
		ConnectionOpened, ConnectionClosed, ClientEvent, Rejected,
	}
}

// A typeSet has a bit for each type of Types.
type typeSet uint8

// byDefault are the types of a hook that names none.
const byDefault = ^(opened | closed)

const (
	occupied typeSet = 1 << iota
	vacated
	joined
	left
	opened
	closed
	client
	rejected
)

// setOf returns the set of one type, which is empty for types not in Types.
func setOf(typ string) typeSet {
	switch typ {
	case ChannelOccupied:
		return occupied
	case ChannelVacated:
		return vacated
	case MemberJoined:
		return joined
	case MemberLeft:
		return left
	case ConnectionOpened:
		return opened
	case ConnectionClosed:
		return closed
	case ClientEvent:
		return client
	case Rejected:
		return rejected
	}
	return 0
}

// A Hook is a URL that gets events of an app.
type Hook struct {
	// ID names the hook's queue on disk: 1 to 64 letters, digits, - and _.
	ID  string
	App string
	URL string

	// Events are types of Types. If empty, the hook gets all of them but
	// ConnectionOpened and ConnectionClosed.
	Events []string

	// Prefix restricts the hook to channels that begin with it. Events without
	// a channel are sent regardless.
	Prefix string

	// Enabled is whether events are recorded and sent. A disabled hook keeps its
	// queue. Once it is enabled again, it gets that queue and then StateReset.
	Enabled bool

	// Secrets sign every request, the newest first: two while a secret rotates.
	Secrets [][]byte

	// Created is when the hook was added. Where machines share the facts, it gets those
	// since then.
	Created time.Time
}

// types returns the types that the hook gets.
func (h *Hook) types() (set typeSet) {
	if len(h.Events) == 0 {
		return byDefault
	}
	for _, typ := range h.Events {
		set |= setOf(typ)
	}
	return set
}

// maxID is the length of the longest ID, in bytes.
const maxID = 64

// check returns an error if the hook cannot be used. Its URL is checked when it
// is configured, see CheckURL, and when it is used.
func (h *Hook) check() error {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	switch {
	case h.ID == "" || len(h.ID) > maxID || strings.Trim(h.ID, allowed) != "":
		return fmt.Errorf("the hook ID %.80q must be 1 to %d letters, digits, - and _", h.ID, maxID)
	case h.App == "":
		return fmt.Errorf("the hook %s belongs to no app", h.ID)
	case len(h.Secrets) == 0:
		return fmt.Errorf("the hook %s has no secret: the keystore makes one", h.ID)
	}
	return CheckTypes(h.Events)
}

// CheckTypes returns an error that names the first type that Types lacks.
func CheckTypes(events []string) error {
	for _, typ := range events {
		if setOf(typ) == 0 {
			return fmt.Errorf("unknown event %.80q: webhooks have %s", typ, strings.Join(Types(), ", "))
		}
	}
	return nil
}

// same reports whether two hooks are configured alike.
func same(a, b *Hook) bool {
	return a.ID == b.ID && a.App == b.App && a.URL == b.URL && a.Prefix == b.Prefix && a.Enabled == b.Enabled &&
		slices.Equal(a.Events, b.Events) && slices.EqualFunc(a.Secrets, b.Secrets, slices.Equal)
}

// clone returns a copy that shares nothing with the caller's.
func (h *Hook) clone() *Hook {
	c := *h
	c.Events = slices.Clone(h.Events)
	c.Secrets = make([][]byte, len(h.Secrets))
	for i, secret := range h.Secrets {
		c.Secrets[i] = slices.Clone(secret)
	}
	return &c
}

// Errors of Test and Set.
var (
	ErrUnknown  = errors.New("there is no such hook")
	ErrDisabled = errors.New("the hook is disabled: enable it first")
	ErrClosed   = errors.New("webhooks are closed")
)
