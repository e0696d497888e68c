//go:build !unix

package engineio

import (
	"net"
	"syscall"
)

// rawConn returns nil: on this system, no socket is written to without
// blocking.
func rawConn(net.Conn) syscall.RawConn { return nil }

func tryWrite(syscall.RawConn, []byte) int { return 0 }
