package stress

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"
	"testing"
)

// Below the ports that Linux gives to outgoing connections (32768 and up),
// which thousands of clients take, and below those that tests/lib takes.
const (
	firstPort = 10_000
	ports     = 10_000
)

// freeAddr is a loopback address that nothing listens on and that no other
// test gets while this one runs: an abstract Unix socket stands for it.
func freeAddr(t *testing.T) string {
	t.Helper()
	for {
		port := strconv.Itoa(firstPort + rand.IntN(ports))
		taken, err := net.Listen("unix", "@realtime-test-port-"+port)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { taken.Close() })
		addr := "127.0.0.1:" + port
		l, err := net.Listen("tcp", addr)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		return addr
	}
}
