//go:build network && linux

package stress

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"sync"
	"testing"
)

// A sight is a line of tests/wire/subscriber.mjs.
type sight struct {
	Transport, What string
	Value           any
}

// A watched program prints sights.
type watched struct {
	mu   sync.Mutex // guards seen
	seen []sight
}

// watch starts the program, which ends with the test.
func watch(t *testing.T, cmd *exec.Cmd) *watched {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w := new(watched)
	var reader sync.WaitGroup
	reader.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var l [3]any
			if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
				t.Errorf("%s: %v", lines.Bytes(), err)
				continue
			}
			w.mu.Lock()
			w.seen = append(w.seen, sight{l[0].(string), l[1].(string), l[2]})
			w.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		reader.Wait()
		_ = cmd.Wait() // it was killed
	})
	return w
}

// count is how often something was seen.
func (w *watched) count(what string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, s := range w.seen {
		if s.What == what {
			n++
		}
	}
	return n
}

// has is how many have seen an event.
func (w *watched) has(event int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, s := range w.seen {
		if s.What == "e" && s.Value == float64(event) {
			n++
		}
	}
	return n
}

// byTransport is what the client of each has seen.
func (w *watched) byTransport() map[string][]sight {
	w.mu.Lock()
	defer w.mu.Unlock()
	by := make(map[string][]sight)
	for _, s := range w.seen {
		by[s.Transport] = append(by[s.Transport], s)
	}
	return by
}
