package hub

// Announce runs change between two messages of a channel and, if ok, queues the
// payload for all subscribers of the channel but the one with the ID except, which
// can be "". The payload is not a message: it
// has no offset, is not kept, and reaches only subscribers on this machine.
//
// change holds the locks under which subscribers join: joined of a subscription
// sees what was announced before, and its subscriber gets all that is announced
// later. change is called once, even if the channel has no subscribers. It must
// not block or call the hub.
func (h *Hub[P]) Announce(app, channel, except string, change func() (payload P, ok bool)) {
	var w waiting[P]
	defer func() { w.delivery(0).Flush() }() // with no lock held; also after a panic
	s := h.stream(app)
	s.mu.Lock() // a client that comes back gets its answer first
	defer s.mu.Unlock()
	c := s.channel(channel)
	for !c.enter() {
		c = s.channel(channel)
	}
	defer c.mu.Unlock()
	defer c.dropUnused()
	payload, ok := change()
	if !ok {
		return
	}
	c.queue(&w, payload, except)
}

// dropUnused removes the record if it has only been made for an announcement.
// It leaves a history alone. The caller holds mu.
func (c *channel[P]) dropUnused() {
	if c.ring == nil {
		c.drop()
	}
}
