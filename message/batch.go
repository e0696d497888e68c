package message

import (
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/jsonscan"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
)

// maxBatch is the maximum number of messages in one body.
const maxBatch = 100

// A Batch is what one request publishes: one publication, or several in order.
type Batch struct {
	// One is the publication of a body with "channel".
	One Publication

	// Several are the publications of a body with "channels" or "messages", 1 to
	// 100 of them. It is nil for a body with "channel".
	Several []Publication
}

// several returns the publications of a body with "channels" or "messages".
func (f *fields) several() ([]Publication, error) {
	const oneOf = `Send one of "channel", "channels", "user" and "messages".`
	switch {
	case f.seen&hasUser != 0:
		return nil, apierr.InvalidRequest(`"user" and "channels" or "messages" are both present. %s`, oneOf)
	case f.seen&hasMessages == 0 && f.seen&hasChannel != 0:
		return nil, apierr.InvalidRequest(`"channel" and "channels" are both present. %s`, oneOf)
	case f.seen&hasMessages == 0:
		return f.toChannels()
	case f.seen&hasChannel != 0:
		return nil, apierr.InvalidRequest(`"channel" and "messages" are both present. %s`, oneOf)
	case f.seen&hasChannels != 0:
		return nil, apierr.InvalidRequest(`"channels" and "messages" are both present. %s`, oneOf)
	}
	for _, field := range []struct {
		name string
		bit  fieldSet
	}{{"event", hasEvent}, {"data", hasData}, {"except", hasExcept}, {"history", hasHistory}} {
		if f.seen&field.bit != 0 {
			return nil, apierr.InvalidRequest(`%q is beside "messages". Put it into each of the messages.`, field.name)
		}
	}
	return decodeMessages(f.messages)
}

// toChannels returns one publication for each of the channels.
func (f *fields) toChannels() ([]Publication, error) {
	if f.seen&hasEvent == 0 {
		return nil, apierr.InvalidRequest(`"event" is missing. Send one JSON object such as {"channels":["orders.42","orders"],"event":"order.updated","data":{"id":42}}.`)
	}
	if err := f.checkAllButChannel(); err != nil {
		return nil, err
	}
	var all []Publication
	err := eachElement("channels", f.channels, func(s *jsonscan.Scanner) error {
		raw := s.Value()
		if raw[0] != '"' {
			return apierr.InvalidRequest("It is %s. It must be a channel's name, a string.", jsonscan.Kind(raw[0]))
		}
		p := f.Publication
		p.Channel = jsonscan.Unquote(raw)
		if err := CheckChannel(p.Channel); err != nil {
			return err
		}
		for i := range all {
			if all[i].Channel == p.Channel {
				return apierr.InvalidRequest("%s is also channels[%d]. Send each channel once.", text.Quote(p.Channel), i)
			}
		}
		all = append(all, p)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// decodeMessages returns the publications in a JSON array.
func decodeMessages(raw []byte) ([]Publication, error) {
	var all []Publication
	err := eachElement("messages", raw, func(s *jsonscan.Scanner) error {
		if c := s.B[s.I]; c != '{' {
			return apierr.InvalidRequest("It is %s. Each message is %s.", jsonscan.Kind(c), wantedBody)
		}
		var f fields
		if err := f.read(s); err != nil {
			return err
		}
		s.I++ // past the "}"
		if f.seen&(hasChannels|hasMessages) != 0 {
			return apierr.InvalidRequest(`It has "channels" or "messages". Give each message one "channel" or "user".`)
		}
		if err := f.whole(); err != nil {
			return err
		}
		all = append(all, f.Publication)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// eachElement calls read at each element of a field's value, which must be an
// array of 1 to maxBatch elements. read moves the scanner past the element. Its
// errors are returned with the element's position.
func eachElement(field string, raw []byte, read func(*jsonscan.Scanner) error) error {
	if raw[0] != '[' {
		return apierr.InvalidRequest("%q is %s. It must be an array of 1 to %d elements.", field, jsonscan.Kind(raw[0]), maxBatch)
	}
	s := jsonscan.Scanner{B: raw}
	n := 0
	for ; s.Element(); n++ {
		if n == maxBatch {
			return apierr.InvalidRequest("%q has more than %d elements. Send the rest in another request.", field, maxBatch)
		}
		if err := read(&s); err != nil {
			return apierr.As(err).At(field, n)
		}
	}
	if n == 0 {
		return apierr.InvalidRequest("%q is empty. It must have 1 to %d elements.", field, maxBatch)
	}
	return nil
}
