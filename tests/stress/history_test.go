package stress

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var historyBytes = regexp.MustCompile(`(?m)^caddy_realtime_history_bytes (\S+)$`)

// resident is the memory that the process has now, in bytes.
func (g *gateway) resident() int {
	g.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	if err != nil {
		g.t.Fatal(err)
	}
	kib, err := strconv.Atoi(string(residentSize.FindSubmatch(status)[1]))
	if err != nil {
		g.t.Fatal(err)
	}
	return kib << 10
}

// publishMany publishes messages of so many bytes, spread over channels, as many
// per request as it can have.
func (g *gateway) publishMany(a app, channels, messages, size int) {
	g.t.Helper()
	data := `"` + strings.Repeat("x", size) + `"`
	batch := max(1, min(100, 900_000/size))
	each(g.t, messages/batch, 4, func(i int) error {
		var body strings.Builder
		for j := range batch {
			if j > 0 {
				body.WriteByte(',')
			}
			body.WriteString(publication(fmt.Sprintf("history.%d", (i*batch+j)%channels), data))
		}
		request, err := a.post("http://"+g.Addr, `{"messages":[`+body.String()+`]}`)
		if err != nil {
			return err
		}
		answer, err := g.http.Do(request)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s", answer.Status)
		}
		return nil
	})
}

// What is counted stays under history_memory, and is what the messages take,
// whether they are few or many in a channel, small or large.
func TestHistoryTakesTheMemoryThatIsCounted(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name                      string
		channels, messages, bytes int
	}{
		{"a message in each of many channels", 100_000, 100_000, 100},
		{"many messages in some channels", 1_000, 200_000, 100},
		{"large messages", 400, 40_000, 10_000},
		{"messages of the largest size", 10, 300, 1_040_000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			const limit = 64 << 20
			g := start(t, "history 200 10m\nhistory_memory 64MiB")
			a := g.newApp()
			g.publishMany(a, 1, 1000, 100) // what the first publishes take
			before, heap := g.resident(), g.usage().heap
			g.publishMany(a, tc.channels, tc.messages, tc.bytes)
			counted := int(g.number("/metrics", historyBytes))
			grown := g.resident() - before
			live := g.usage().heap - heap
			t.Logf("counted %.1f MiB, resident grew by %.1f MiB, heap by %.1f MiB", mib(counted), mib(grown), mib(live))
			if counted > limit || counted < limit*9/10 {
				t.Errorf("%d bytes are counted of %d", counted, limit)
			}
			if g.raceBuild() {
				return
			}
			// The garbage collector lets the heap double: half of what is counted is alive.
			if live < counted*4/10 || live > counted*6/10 {
				t.Errorf("half of what is counted is not what is alive")
			}
			if grown > 2*limit {
				t.Errorf("resident memory grew by more than twice the limit")
			}
		})
	}
}

func mib(bytes int) float64 { return float64(bytes) / (1 << 20) }
