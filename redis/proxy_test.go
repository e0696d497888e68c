package redis

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// A proxy is a network between a machine and a server that can be slow, or stop.
type proxy struct {
	listener net.Listener
	work     sync.WaitGroup
	delay    time.Duration // of what each side sends

	mu     sync.Mutex // guards everything below
	server *redisServer
	conns  []net.Conn
	stop   chan struct{} // nil, or closed when what the server sends is read again
}

// through starts a proxy in front of the server.
func (s *redisServer) through(delay time.Duration) *proxy {
	s.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	p := &proxy{server: s, listener: listener, delay: delay}
	p.work.Go(p.accept)
	s.t.Cleanup(func() {
		p.resume()
		_ = listener.Close()
		p.mu.Lock()
		for _, conn := range p.conns {
			_ = conn.Close()
		}
		p.mu.Unlock()
		p.work.Wait()
	})
	return p
}

// lead ends all connections, and leads new ones to another server.
func (p *proxy) lead(s *redisServer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server = s
	for _, conn := range p.conns {
		_ = conn.Close()
	}
	p.conns = nil
}

// url returns the server's URL through the proxy.
func (p *proxy) url() string { return fmt.Sprintf("redis://realtime:password@%s", p.listener.Addr()) }

// accept connects clients with the server until the listener is closed.
func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		port := p.server.port
		p.mu.Unlock()
		server, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			_ = client.Close()
			continue
		}
		_ = server.(*net.TCPConn).SetReadBuffer(128 << 10) // what is not read is soon in the server's own buffer
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		p.work.Go(func() { p.carry(server, client, func() {}) })
		p.work.Go(func() { p.carry(client, server, p.wait) })
	}
}

// carry copies one direction. before is called before something is read, and before it is
// written.
func (p *proxy) carry(to, from net.Conn, before func()) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 16<<10)
	for {
		before()
		n, err := from.Read(buffer)
		before()
		time.Sleep(p.delay) // that is what the proxy is for
		if _, failed := to.Write(buffer[:n]); failed != nil || err != nil {
			return
		}
	}
}

// suspend stops reading from the server, and carries nothing more from it.
func (p *proxy) suspend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stop = make(chan struct{})
}

func (p *proxy) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop != nil {
		close(p.stop)
		p.stop = nil
	}
}

func (p *proxy) wait() {
	p.mu.Lock()
	stop := p.stop
	p.mu.Unlock()
	if stop != nil {
		<-stop
	}
}
