package stress

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/tests/client"
)

// A log is what a client got, by the numbers of the messages in their data.
type log struct {
	answers atomic.Int32

	mu  sync.Mutex // guards got
	got []uint32
	bad string
}

func (l *log) take(packet string) {
	text, ok := strings.CutPrefix(packet, `2["e",`)
	if !ok {
		l.answers.Add(1) // to a subscribe
		return
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(text, "]"), 10, 32)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.bad = packet
	}
	l.got = append(l.got, uint32(n))
}

func (l *log) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.got)
}

// A socket gets the messages of its app in the order of their offsets, whatever
// channels they are of and whoever publishes them at the same time.
func TestSocketGetsItsAppsMessagesInOneOrderAcrossChannels(t *testing.T) {
	t.Parallel()
	const channels, clients, publishers = 4, 100, 16
	messages := sized(2_000, 10_000) // to each client
	g := start(t, "max_queue 64MiB")
	a := g.newApp()
	logs := make([]*log, clients)
	all := make([]*client.Client, clients)
	each(t, clients, 16, func(i int) error {
		transport := client.OverWebSocket
		if i%2 == 1 {
			transport = client.OverPolling
		}
		logs[i] = new(log)
		var err error
		all[i], err = client.Dial(client.Config{Addr: g.Addr, Transport: transport, AppID: a.ID, Key: a.SubscribeKey, OnPacket: logs[i].take})
		if err != nil {
			return err
		}
		for channel := range channels {
			if err := all[i].Subscribe(fmt.Sprint("c", channel)); err != nil {
				return err
			}
		}
		return nil
	})
	g.await("all have joined", time.Minute, func() bool {
		return !slices.ContainsFunc(logs, func(l *log) bool { return l.answers.Load() < channels })
	})
	defer func() {
		for _, c := range all {
			_ = c.Close()
		}
	}()

	offsets := make([]uint64, messages) // by the number of the message
	var next atomic.Int64
	each(t, publishers, publishers, func(int) error {
		over := &http.Client{Transport: new(http.Transport)}
		defer over.CloseIdleConnections()
		for n := int(next.Add(1)) - 1; n < messages; n = int(next.Add(1)) - 1 {
			request, err := a.post("http://"+g.Addr, publication(fmt.Sprint("c", n%channels), strconv.Itoa(n)))
			if err != nil {
				return err
			}
			answer, err := over.Do(request)
			if err != nil {
				return err
			}
			text, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			var receipt struct {
				Offset      uint64
				Subscribers int
			}
			if err != nil {
				return err
			}
			if json.Unmarshal(text, &receipt) != nil || receipt.Subscribers != clients {
				return fmt.Errorf("%s %s", answer.Status, text)
			}
			offsets[n] = receipt.Offset
		}
		return nil
	})
	for i := range logs {
		g.await(fmt.Sprintf("client %d gets all messages", i), time.Minute, func() bool { return logs[i].len() >= messages })
		if logs[i].bad != "" || len(logs[i].got) != messages {
			t.Fatalf("client %d got %d of %d messages %s", i, len(logs[i].got), messages, logs[i].bad)
		}
		last := uint64(0)
		for at, n := range logs[i].got {
			if offsets[n] != last+1 {
				t.Fatalf("client %d got offset %d after %d, as its message %d", i, offsets[n], last, at)
			}
			last++
		}
	}
}
