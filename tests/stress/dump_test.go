package stress

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/tests/client"
)

// A crash prints what SIGABRT does: every goroutine's stack.
func TestStackDumpHasNoKey(t *testing.T) {
	t.Parallel()
	g := start(t, "")
	g.expectEnd()
	a := g.newApp()
	crowd := g.join(a, "c", append(repeat(client.OverWebSocket, 20), repeat(client.OverPolling, 20)...)...)
	if _, err := g.publish(a, "c", `"secret data"`); err != nil {
		t.Fatal(err)
	}
	if err := g.cmd.Process.Signal(syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-g.ended:
	case <-time.After(30 * time.Second):
		t.Fatal("the process did not end")
	}
	crowd.close(t)
	dump, err := os.ReadFile(g.log.Name())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(dump), "engineio.(*Session)") {
		t.Errorf("that is no dump: %s", dump[max(0, len(dump)-3000):])
	}
	for _, secret := range []string{a.PublishKey, a.SubscribeKey, "secret data"} {
		if strings.Contains(string(dump), secret) {
			t.Errorf("the dump has %q", secret)
		}
	}
}
