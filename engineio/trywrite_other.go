//go:build !unix

package engineio

import (
	"net"
	"syscall"
)

// rawConn is for systems whose sockets are written to without blocking.
func rawConn(net.Conn) syscall.RawConn { return nil }

func tryWrite(syscall.RawConn, []byte) int { return 0 }
