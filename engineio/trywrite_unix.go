//go:build unix

package engineio

import (
	"net"
	"syscall"
)

// rawConn is a connection's descriptor, nil if its bytes take another way, as
// those of TLS do.
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

// tryWrite writes what the kernel takes at once, and returns how much that was.
// An error is left for the next write to find.
func tryWrite(raw syscall.RawConn, b []byte) int {
	n := 0
	_ = raw.Control(func(fd uintptr) { n, _ = syscall.Write(int(fd), b) }) // descriptors of sockets do not block
	return max(n, 0)
}
