package socketio_test

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

// The Go library keeps a goroutine and 20 kB of each connection forever.
func TestChurnLeavesNothingBehind(t *testing.T) {
	srv := serve(t, app{})
	churn := func(clients int) {
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for i := range clients / 8 {
					c := srv.connect()
					if i%2 == 0 {
						c.send(`451-["unfinished"]`)
					} else {
						c.send("41")
					}
					c.conn.Close()
				}
			})
		}
		all.Wait()
	}
	churn(80)
	before := runtime.NumGoroutine()
	churn(400)
	for deadline := time.Now().Add(patience); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}
