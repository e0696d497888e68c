// Package relay is a bad network for tests. It passes TCP connections on to a
// server, late, in pieces, or up to a byte at which both sides are reset; and
// it can fall silent without a word to either.
package relay

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A Fault is what happens to the bytes of one direction. The zero Fault is
// none.
type Fault struct {
	// Delay is how much later each byte comes out.
	Delay time.Duration

	// Piece is the most that goes out in one write, in bytes; 0 is as it came.
	Piece int

	// Pause is waited between two writes.
	Pause time.Duration

	// Cut is after how many bytes, of all connections together, all of them
	// are reset, and those that come later too; 0 is never.
	Cut int
}

// A Relay listens on a port of its own for connections to one server.
type Relay struct {
	target   string
	up, down Fault
	listener net.Listener
	passed   [2]atomic.Int64 // bytes up and down
	running  sync.WaitGroup  // accept, and two goroutines for each direction

	closed  chan struct{} // by Close
	closing sync.Once

	mu    sync.Mutex // guards all below
	links map[*link]struct{}
	gate  *chan struct{} // nothing passes until it is closed
	cut   bool           // no connection passes any more
}

// Start makes a relay to a server; up is from the clients to it. Close ends it.
func Start(target string, up, down Fault) (*Relay, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	open := make(chan struct{})
	close(open)
	r := &Relay{target: target, up: up, down: down, listener: listener, closed: make(chan struct{}), links: make(map[*link]struct{}), gate: &open}
	r.running.Go(r.accept)
	return r, nil
}

// Addr is where clients connect to.
func (r *Relay) Addr() string { return r.listener.Addr().String() }

// Passed is how many bytes went up and down.
func (r *Relay) Passed() (up, down int) { return int(r.passed[0].Load()), int(r.passed[1].Load()) }

// Vanish makes all connections fall silent, those too that come later: nothing
// passes in either direction, and nobody is told. What it returns lets them go
// on.
func (r *Relay) Vanish() (resume func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	gate := make(chan struct{})
	r.gate = &gate
	for l := range r.links {
		l.gate.Store(&gate)
	}
	return sync.OnceFunc(func() { close(gate) })
}

// Close resets all connections, and returns when nothing runs any more.
func (r *Relay) Close() {
	r.closing.Do(func() { close(r.closed) })
	_ = r.listener.Close() // nobody else closes it
	r.resetAll()
	r.running.Wait()
}

// resetAll ends all connections, and has later ones reset.
func (r *Relay) resetAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = true
	for l := range r.links {
		l.reset()
	}
}

func (r *Relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			select {
			case <-r.closed:
				return
			default:
				panic(fmt.Sprintf("relay: %v", err)) // a test that went on would wait in vain
			}
		}
		r.open(client.(*net.TCPConn))
	}
}

// open connects a client to the server, once the network is there.
func (r *Relay) open(client *net.TCPConn) {
	r.mu.Lock()
	gate := r.gate
	r.mu.Unlock()
	select {
	case <-*gate:
	case <-r.closed:
		reset(client)
		return
	}
	conn, err := net.Dial("tcp", r.target)
	if err != nil { // the server is not there
		reset(client)
		return
	}
	l := &link{relay: r, client: client, server: conn.(*net.TCPConn), done: make(chan struct{})}
	r.mu.Lock()
	defer r.mu.Unlock()
	l.gate.Store(r.gate)
	if r.cut {
		l.reset()
		return
	}
	r.links[l] = struct{}{}
	l.open.Store(2)
	r.pass(l, l.client, l.server, r.up, &r.passed[0])
	r.pass(l, l.server, l.client, r.down, &r.passed[1])
}

// A link is one connection of a client.
type link struct {
	relay          *Relay
	client, server *net.TCPConn
	gate           atomic.Pointer[chan struct{}] // nothing passes until it is closed
	open           atomic.Int32                  // directions that have not ended
	done           chan struct{}                 // closed with the connections
	once           sync.Once
}

// reset ends both sides with an RST.
func (l *link) reset() {
	l.once.Do(func() {
		close(l.done)
		reset(l.client)
		reset(l.server)
	})
}

func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0) // it is about to be closed
	_ = conn.Close()
}

// end is called when one direction has come to its end.
func (l *link) end() {
	if l.open.Add(-1) > 0 {
		return
	}
	l.once.Do(func() {
		close(l.done)
		_ = l.client.Close()
		_ = l.server.Close()
	})
	l.relay.mu.Lock()
	delete(l.relay.links, l)
	l.relay.mu.Unlock()
}

// wait returns when the link is not silent and the time has come, false if it
// has ended.
func (l *link) wait(due time.Time) bool {
	select {
	case <-*l.gate.Load():
	case <-l.done:
		return false
	}
	left := time.Until(due)
	if left <= 0 {
		return true
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.done:
		return false
	}
	return l.wait(due) // it may have fallen silent meanwhile
}

// A chunk is on its way.
type chunk struct {
	data []byte
	due  time.Time
}

// onTheWay bounds how many chunks are, in one direction.
const onTheWay = 256

// pass runs one direction of a link.
func (r *Relay) pass(l *link, from, to *net.TCPConn, fault Fault, passed *atomic.Int64) {
	way := make(chan chunk, onTheWay)
	r.running.Go(func() { // reads
		defer close(way)
		for buffer := make([]byte, 32<<10); ; {
			n, err := from.Read(buffer)
			if n > 0 {
				c := chunk{append([]byte(nil), buffer[:n]...), time.Now().Add(fault.Delay)}
				select {
				case way <- c:
				case <-l.done:
					return
				}
			}
			if err != nil {
				if !errors.Is(err, io.EOF) {
					l.reset() // what was read and not yet passed is lost, as it may be
				}
				return
			}
			if !l.wait(time.Time{}) { // what has vanished reads nothing
				return
			}
		}
	})
	r.running.Go(func() { // writes
		defer l.end()
		for c := range way {
			if !l.wait(c.due) || !r.write(l, to, c.data, fault, passed) {
				l.reset()
				for range way { //nolint:revive // until the reader has seen it
				}
				return
			}
		}
		_ = to.CloseWrite() // the other direction may go on
	})
}

// write passes data on, false if the link has ended.
func (r *Relay) write(l *link, to *net.TCPConn, data []byte, fault Fault, passed *atomic.Int64) bool {
	for len(data) > 0 {
		piece := data
		if fault.Piece > 0 {
			piece = data[:min(fault.Piece, len(data))]
		}
		last := false
		if total := passed.Add(int64(len(piece))); fault.Cut > 0 && total >= int64(fault.Cut) {
			over := min(int(total)-fault.Cut, len(piece))
			piece, last = piece[:len(piece)-over], true
		}
		if _, err := to.Write(piece); err != nil {
			return false
		}
		if last {
			r.resetAll()
			return false
		}
		if data = data[len(piece):]; len(data) > 0 && fault.Pause > 0 && !l.wait(time.Now().Add(fault.Pause)) {
			return false
		}
	}
	return true
}
