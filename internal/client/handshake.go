package client

import (
	"errors"
	"net"
)

// maxHandshake bounds the answer to the websocket request, in bytes: headers,
// and a body if it opens no websocket.
const maxHandshake = maxAnswer + 64<<10

var errLongHandshake = errors.New("its answer is over 128 KiB")

// A handshakeConn bounds how much is read of a connection until the websocket
// is open. The library that reads the answer bounds neither its lines nor its
// headers. After that, the connection is used without it.
type handshakeConn struct {
	net.Conn
	left int // bytes that can still be read
}

// Read implements net.Conn.
func (c *handshakeConn) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, errLongHandshake
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}
