//go:build unix

package engineio

import (
	"net"
	"syscall"
)

// rawConn returns a connection's descriptor, or nil if bytes must not bypass
// conn, as with TLS.
func rawConn(conn net.Conn) syscall.RawConn {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// tryWrite writes what the kernel accepts at once, and returns the number of
// bytes. The next write finds any error.
func tryWrite(raw syscall.RawConn, b []byte) int {
	n := 0
	_ = raw.Control(func(fd uintptr) { n, _ = syscall.Write(int(fd), b) }) // socket descriptors do not block
	return max(n, 0)
}
