package engineio_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

// TestMain can run a benchmark's clients in a separate process, so that their
// CPU time can be told from the server's.
func TestMain(m *testing.M) {
	if addr := os.Getenv("ENGINEIO_CLIENTS_OF"); addr != "" {
		clients, _ := strconv.Atoi(os.Getenv("ENGINEIO_CLIENTS"))
		if err := drain(addr, clients); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// drain opens websockets and reads from them until they end.
func drain(addr string, clients int) error {
	var open sync.WaitGroup
	for range clients {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(conn, handshake, ""); err != nil {
			return err
		}
		open.Go(func() {
			buffer := make([]byte, 16<<10)
			for {
				if _, err := conn.Read(buffer); err != nil {
					return
				}
			}
		})
	}
	fmt.Println("open")
	open.Wait()
	return nil
}

// crowd is many websockets of another process.
func crowd(b *testing.B, clients int) []*engineio.Session {
	b.Helper()
	srv := serve(b, config(), app{})
	command := exec.Command(os.Args[0], "-test.run=^$")
	command.Env = append(os.Environ(), "ENGINEIO_CLIENTS_OF="+srv.http.Listener.Addr().String(), "ENGINEIO_CLIENTS="+strconv.Itoa(clients))
	command.Stderr = os.Stderr
	out, err := command.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		srv.stop()
		_ = command.Wait()
	})
	if !bufio.NewScanner(out).Scan() {
		b.Fatal("the clients did not connect")
	}
	eventually(b, "all are open", func() bool { return srv.Len() == clients })
	return srv.Sessions()
}

func delivered(b *testing.B, sessions []*engineio.Session) {
	b.Helper()
	for _, s := range sessions {
		eventually(b, "all is delivered", func() bool { return s.Queued() == 0 })
	}
}

// cpu returns the CPU time that this process has used.
func cpu() time.Duration {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// One packet to a thousand websockets: waiting for each packet, and as fast as
// possible, when several go out in one write.
func BenchmarkFanOut(b *testing.B) {
	const clients = 1000
	for name, burst := range map[string]int{"single": 1, "burst": 32} {
		b.Run(name, func(b *testing.B) {
			sessions := crowd(b, clients)
			payload := fill(100)
			began, count := cpu(), 0
			for b.Loop() {
				for range burst {
					packet := engineio.TextPacket(payload)
					for _, s := range sessions {
						if !s.Send(packet) {
							b.Fatal("a client was cut off")
						}
					}
					count += clients
				}
				delivered(b, sessions)
			}
			b.ReportMetric(float64(cpu()-began)/float64(count), "server-cpu-ns/delivery")
			b.ReportMetric(float64(b.Elapsed())/float64(count), "ns/delivery")
		})
	}
}

func BenchmarkTextPacket(b *testing.B) {
	for _, size := range []int{10, 100, 10_000} {
		payload := fill(size)
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				engineio.TextPacket(payload)
			}
		})
	}
}

func BenchmarkSend(b *testing.B) {
	sessions := crowd(b, 1)
	packet := engineio.TextPacket(fill(100))
	b.ReportAllocs()
	for b.Loop() {
		sessions[0].Send(packet)
		for sessions[0].Queued() > 1<<20 { // a publisher serves other clients, too
			time.Sleep(time.Millisecond)
		}
	}
}

func BenchmarkEcho(b *testing.B) {
	srv := serve(b, config(), app{})
	c := srv.dial()
	frame := text("4hello")
	b.ReportAllocs()
	for b.Loop() {
		c.write(frame)
		if _, err := c.next(); err != nil {
			b.Fatal(err)
		}
	}
}

// The cost of checking a received packet against the limit.
func BenchmarkTally(b *testing.B) {
	cfg := config()
	cfg.MaxPackets, cfg.PacketWindow = 1<<29, time.Second
	srv := serve(b, cfg, app{})
	p := srv.peer(srv.dial().SID)
	b.ReportAllocs()
	for b.Loop() {
		p.Tally()
	}
}

// A publisher can have many sessions to send to.
func TestSendAllocatesNextToNothing(t *testing.T) {
	srv := serve(t, config(), app{})
	c := srv.dial()
	p := srv.peer(c.SID)
	packet := engineio.TextPacket(fill(100))
	var got atomic.Int64
	go func() {
		buffer := make([]byte, 16<<10)
		for {
			n, err := c.in.Read(buffer)
			if err != nil {
				return
			}
			got.Add(int64(n))
		}
	}()
	size := int64(len(fill(100)) + 3)
	want := int64(0)
	send := func() {
		p.Send(packet)
		for want += size; got.Load() < want; {
			time.Sleep(10 * time.Microsecond)
		}
	}
	for range 100 {
		send()
	}
	if allocs := testing.AllocsPerRun(1000, send); allocs > 1 {
		t.Errorf("%v allocations", allocs)
	}
}
