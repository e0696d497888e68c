package hub

import (
	"crypto/rand"
	"hash/maphash"
	"strconv"
	"sync"
	"sync/atomic"
)

// A Broker puts the messages of all machines in order. There is one in this
// process today; the seam is for one that machines share.
type Broker interface {
	// Publish gives the message its id and offset, and has deliver called for
	// it wherever its channel may have subscribers: for any one channel in
	// the same order everywhere, which is that of the offsets. It returns what
	// deliver returned on this machine.
	Publish(m *Message, deliver func(*Message) int) (int, error)

	// Forget drops what is kept of an app that is gone for good. Were it
	// published to again, its ids would be new ones.
	Forget(app string)
}

// memory is the broker of one process.
type memory struct {
	seed    maphash.Seed
	ordered [256]sync.Mutex // held while a message of one of its channels is delivered

	mu   sync.RWMutex // guards apps
	apps map[string]*sequence
}

// A sequence numbers the messages of one app.
type sequence struct {
	epoch string // tells messages of one run of the process from another's
	last  atomic.Uint64
}

// NewMemory makes a broker for the subscribers of one process. Offsets begin
// at 1 with each; ids never come again.
func NewMemory() Broker {
	return &memory{seed: maphash.MakeSeed(), apps: make(map[string]*sequence)}
}

func (b *memory) Publish(m *Message, deliver func(*Message) int) (int, error) {
	seq := b.sequence(m.App)
	lock := &b.ordered[maphash.Comparable(b.seed, name{m.App, m.Channel})%uint64(len(b.ordered))]
	lock.Lock()
	defer lock.Unlock()
	m.Offset = seq.last.Add(1)
	var id [32]byte // holds any
	m.ID = string(strconv.AppendUint(append(append(id[:0], seq.epoch...), '-'), m.Offset, 36))
	return deliver(m), nil
}

func (b *memory) Forget(app string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.apps, app)
}

func (b *memory) sequence(app string) *sequence {
	b.mu.RLock()
	seq := b.apps[app]
	b.mu.RUnlock()
	if seq != nil {
		return seq
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if seq = b.apps[app]; seq == nil {
		seq = &sequence{epoch: rand.Text()[:16]}
		b.apps[app] = seq
	}
	return seq
}
