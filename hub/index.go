package hub

// indexAt is the number of channels above which a member indexes them. Below
// that, searching the list is as fast, and an index would take memory.
const indexAt = 32

// index maps each of a member's channels to its position in Member.subs. When
// the member leaves a channel, its entry in subs becomes nil, so that the
// others keep their positions; once half of subs is nil, compact removes the
// nils.
type index map[string]int

// len returns the number of channels that the member is in, without hidden ones. The
// caller holds mu.
func (m *Member[P]) len() int {
	if m.index != nil {
		return len(m.index) - int(m.hidden)
	}
	return len(m.subs) - int(m.hidden)
}

// find returns the position of a channel's subscription in subs, or -1. The
// caller holds mu.
func (m *Member[P]) find(channel string) int {
	if m.index != nil {
		if i, ok := m.index[channel]; ok {
			return i
		}
		return -1
	}
	for i, sub := range m.subs {
		if sub.channel.name.channel == channel {
			return i
		}
	}
	return -1
}

// add appends a subscription to subs. The caller holds mu.
func (m *Member[P]) add(sub *subscription[P]) {
	if IsHidden(sub.channel.name.channel) {
		m.hidden++
	}
	m.subs = append(m.subs, sub)
	switch {
	case m.index != nil:
		m.index[sub.channel.name.channel] = len(m.subs) - 1
	case len(m.subs) > indexAt:
		m.compact(len(m.subs))
	}
}

// remove removes the i-th subscription from subs and keeps the order. The
// caller holds mu.
func (m *Member[P]) remove(i int) {
	if IsHidden(m.subs[i].channel.name.channel) {
		m.hidden--
	}
	if m.index == nil {
		last := len(m.subs) - 1
		copy(m.subs[i:], m.subs[i+1:])
		m.subs[last] = nil
		m.subs = m.subs[:last]
		return
	}
	delete(m.index, m.subs[i].channel.name.channel)
	m.subs[i] = nil
	if left := len(m.index); left <= len(m.subs)/2 {
		m.compact(left)
	}
}

// compact rebuilds subs and the index without the nils, or drops the index if
// few subscriptions are left. The caller holds mu.
func (m *Member[P]) compact(left int) {
	subs := make([]*subscription[P], 0, left)
	for _, sub := range m.subs {
		if sub != nil {
			subs = append(subs, sub)
		}
	}
	m.subs, m.index = subs, nil
	if left < indexAt/2 {
		return
	}
	ix := make(index, left)
	for i, sub := range subs {
		ix[sub.channel.name.channel] = i
	}
	m.index = ix
}
