package stress

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/tests/client"
)

// addKey gives an app another key, and returns its id and the key.
func (g *gateway) addKey(a app, kind string) (id, key string) {
	g.t.Helper()
	answer, err := g.http.Post("http://"+g.Admin+"/realtime/keys/"+a.ID, "application/json", strings.NewReader(`{"kind":"`+kind+`"}`))
	if err != nil {
		g.t.Fatal(err)
	}
	defer answer.Body.Close()
	var made struct{ ID, Key string }
	if err := json.NewDecoder(answer.Body).Decode(&made); err != nil || answer.StatusCode != http.StatusCreated {
		g.t.Fatalf("%s: %v", answer.Status, err)
	}
	return made.ID, made.Key
}

func TestRevocationReachesAThousandSocketsOfItsKeyWithinASecond(t *testing.T) {
	const doomed, staying = 1000, 200
	g := start(t, "")
	a := g.newApp()
	leaked := a
	var id string
	id, leaked.SubscribeKey = g.addKey(a, "subscribe")
	before := g.usage()
	lost := g.join(leaked, "c", append(repeat(client.OverWebSocket, doomed-100), repeat(client.OverPolling, 100)...)...)
	kept := g.join(a, "c", append(repeat(client.OverWebSocket, staying-20), repeat(client.OverPolling, 20)...)...)

	// What the machine takes to reach them all, which is long when it is busy.
	begin := time.Now()
	if n, err := g.publish(a, "c", "1"); n != doomed+staying || err != nil {
		t.Fatalf("published to %d, want %d; %v", n, doomed+staying, err)
	}
	g.check(lost, 1, 1)
	g.check(kept, 1, 1)
	limit := max(time.Second, 5*time.Since(begin))

	request, err := http.NewRequest(http.MethodDelete, "http://"+g.Admin+"/realtime/keys/"+a.ID+"/"+id, nil)
	if err != nil {
		t.Fatal(err)
	}
	begin = time.Now()
	answer, err := g.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusNoContent {
		t.Fatal(answer.Status)
	}
	g.await("all sockets of the key are disconnected", 20*time.Second, func() bool {
		for _, c := range lost.clients {
			if c.Err() == nil {
				return false
			}
		}
		return true
	})
	took := time.Since(begin)
	t.Logf("the last was disconnected after %s of %s", took, limit)
	if took > limit && !g.raceBuild() {
		t.Errorf("that is more than %s", limit)
	}
	if n, err := g.publish(a, "c", "2"); n != staying || err != nil {
		t.Errorf("published to %d, want %d; %v", n, staying, err)
	}
	g.check(kept, 1, 2)
	if n := g.connections(a); n != staying {
		t.Errorf("%d connections are left, want %d", n, staying)
	}
	lost.close(t)
	kept.close(t)
	g.settled(before)
}
