package message

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
)

// maxName is the maximum length of a channel's or event's name, in characters.
const maxName = 200

// CheckChannel returns an error that says why a channel's name is invalid, or
// nil.
func CheckChannel(name string) error {
	if name == "" {
		return apierr.InvalidChannel("The channel's name is empty. It has 1 to %d characters of A-Z a-z 0-9 _ - = @ , . ; : /", maxName)
	}
	for i := range len(name) {
		if !isChannelByte(name[i]) {
			r, _ := utf8.DecodeRuneInString(name[i:])
			return apierr.InvalidChannel("The channel's name has %q at character %d. Allowed are A-Z a-z 0-9 _ - = @ , . ; : /", r, i+1)
		}
	}
	if len(name) > maxName {
		return apierr.InvalidChannel("The channel's name has %d characters. At most %d are allowed.", len(name), maxName)
	}
	return nil
}

func isChannelByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	switch c {
	case '_', '-', '=', '@', ',', '.', ';', ':', '/':
		return true
	}
	return false
}

// MaxUser is the maximum length of a user's id, in characters.
const MaxUser = 128

// CheckUser returns an error that says why a user's id is invalid, or nil. what is
// where the id stands.
func CheckUser(what, user string) error {
	if !utf8.ValidString(user) {
		return apierr.InvalidRequest("%s is not valid Unicode: it has half of a surrogate pair. Send complete characters.", what)
	}
	count := 0
	for _, r := range user {
		count++
		if !unicode.IsPrint(r) {
			return apierr.InvalidRequest("%s has %+q at character %d. Allowed are printable characters.", what, r, count)
		}
	}
	switch {
	case count == 0:
		return apierr.InvalidRequest("%s is empty. Set it to the user's id, which has 1 to %d printable characters.", what, MaxUser)
	case count > MaxUser:
		return apierr.InvalidRequest("%s has %d characters; at most %d are allowed. Use a shorter id of the user.", what, count, MaxUser)
	}
	return nil
}

// CheckEvent returns an error that says why an event's name is invalid, or nil.
func CheckEvent(name string) error {
	switch name {
	case "":
		return apierr.InvalidEvent("The event's name is empty. It has 1 to %d printable characters.", maxName)
	case "connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener",
		"subscribe", "subscribed", "subscribe_error", "unsubscribe", "unsubscribed":
		return apierr.ReservedEvent(name)
	}
	if strings.HasPrefix(name, "realtime:") { // events of the gateway
		return apierr.ReservedEvent(name)
	}
	if !utf8.ValidString(name) {
		return apierr.InvalidEvent("The event's name is not valid Unicode: it has half of a surrogate pair. Send complete characters.")
	}
	count := 0
	for _, r := range name {
		count++
		if !unicode.IsPrint(r) {
			return apierr.InvalidEvent("The event's name has %+q at character %d. Allowed are printable characters.", r, count)
		}
	}
	if count > maxName {
		return apierr.InvalidEvent("The event's name has %d characters. At most %d are allowed.", count, maxName)
	}
	return nil
}
