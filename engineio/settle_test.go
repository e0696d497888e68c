package engineio_test

import (
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

// For the race detector: Settle knows a session while accept is still running.
func TestSettleMayLookAtASessionThatIsBeingOpened(t *testing.T) {
	srv := serve(t, config(), app{accept: func(*engineio.Session) { time.Sleep(10 * time.Millisecond) }})
	open := func() {
		answer, err := http.Get(srv.http.URL + "/?EIO=4&transport=polling")
		if err != nil {
			t.Error(err)
			return
		}
		defer answer.Body.Close()
		_, _ = io.Copy(io.Discard, answer.Body)
	}
	open() // Settle waits for its poll, which never arrives
	var settled sync.WaitGroup
	settled.Go(func() { srv.Settle(300 * time.Millisecond) })
	for range 5 {
		open()
	}
	settled.Wait()
}
