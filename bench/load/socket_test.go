package load

import (
	"fmt"
	"net"
	"testing"
	"testing/synctest"
)

func serverFrame(message string) string {
	if n := len(message); n < 126 {
		return string([]byte{0x81, byte(n)}) + message
	} else {
		return string([]byte{0x81, 126, byte(n >> 8), byte(n)}) + message
	}
}

func TestCountsDeliveriesHoweverTheyAreCut(t *testing.T) {
	message := func(dialect Dialect, size int) string {
		if dialect == Centrifuge {
			return `{"push":{"pub":{"data":` + payload(size) + "}}}\n{}\n" + payload(size)
		}
		return `42["e",` + payload(size) + `]`
	}
	for _, c := range []struct {
		dialect    Dialect
		size, each int
		control    string
	}{
		{SocketIO, 100, 1, "2"},
		{SocketIO, 16384, 1, "2"},
		{Centrifuge, 100, 2, "{}"},
	} {
		for _, cut := range []int{1, 7, 4096, 1 << 20} {
			t.Run(fmt.Sprintf("%d bytes of dialect %d in pieces of %d", c.size, c.dialect, cut), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					server, conn := net.Pipe()
					crowd := NewCrowd(nil)
					crowd.begin(c.size)
					s := &socket{conn: conn, dialect: c.dialect, crowd: crowd, buf: make([]byte, 4096), sampled: true}
					crowd.sockets = append(crowd.sockets, s)
					go s.read()
					go func() { // what it answers to heartbeats
						b := make([]byte, 100)
						for {
							if _, err := server.Read(b); err != nil {
								return
							}
						}
					}()
					var stream string
					for range 5 {
						stream += serverFrame(message(c.dialect, c.size)) + serverFrame(c.control)
					}
					for len(stream) > 0 {
						n := min(cut, len(stream))
						if _, err := server.Write([]byte(stream[:n])); err != nil {
							t.Fatal(err)
						}
						stream = stream[n:]
					}
					synctest.Wait()
					if got := crowd.received.Load(); got != int64(5*c.each) {
						t.Errorf("%d deliveries", got)
					}
					if got := len(crowd.latencies()); got != 5*c.each {
						t.Errorf("%d latencies", got)
					}
					_ = server.Close()
				})
			})
		}
	}
}

func TestStampIsWhatWasPut(t *testing.T) {
	b := []byte(`42["e",` + payload(100) + `]`)
	if len(payload(100)) != 100 {
		t.Errorf("%d bytes", len(payload(100)))
	}
	putStamp(b[len(`42["e",{`)+len(mark):], 1234567890123)
	if got, ok := stamp(b); !ok || got != 1234567890123 {
		t.Errorf("%d, %t", got, ok)
	}
}
