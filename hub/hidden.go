package hub

import "strings"

// hidden begins the names of hidden channels.
const hidden = "\x00"

// Hidden returns the name of a channel that no client knows of. Messages of such a
// channel are ordered, kept and recovered as all others. But it is not listed, nor
// counted, nor among the channels of its members, and no limit applies to it.
func Hidden(name string) string { return hidden + name }

// IsHidden reports whether Hidden has returned the name of a channel.
func IsHidden(channel string) bool { return strings.HasPrefix(channel, hidden) }
