package hub

import "time"

// A Measured broker has numbers for operators.
type Measured interface {
	Broker

	// Measures returns the numbers. It must not block.
	Measures() Measures
}

// Measures are numbers of a broker on this machine, since its start.
type Measures struct {
	Gaps       uint64 // how often messages were missing, and read again
	Filled     uint64 // messages that were delivered because of that
	Lost       uint64 // how often messages of a channel were missing for good
	Reconnects uint64 // of connections that get messages

	Publishes   uint64        // requests to publish, of one message or several
	PublishTime time.Duration // that they took, together
	Lag         time.Duration // that the last probe of this machine took to come back
}

// Measures returns the numbers of the broker, which are all 0 if it has none.
func (h *Hub[P]) Measures() Measures {
	if m, ok := h.broker.(Measured); ok {
		return m.Measures()
	}
	return Measures{}
}
