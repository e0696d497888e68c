package load

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestLonePublisherSendsEachMessageToTheServerBesideToo(t *testing.T) {
	var counts [2]atomic.Int64
	var targets [2]*Target
	for i := range targets {
		s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { counts[i].Add(1) }))
		defer s.Close()
		targets[i] = &Target{Addr: strings.TrimPrefix(s.URL, "http://")}
	}
	w := Work{Publishers: 1, Channels: 1, Duration: 10 * time.Millisecond, Beside: targets[1]}
	o, err := Do(targets[0], NewCrowd(targets[0]), w, func() (time.Duration, error) { return 0, nil })
	if err != nil {
		t.Fatal(err)
	}
	if first, beside := counts[0].Load(), counts[1].Load(); first != o.Publishes || beside != first || first == 0 {
		t.Errorf("%d publishes: %d to the one, %d to the other", o.Publishes, first, beside)
	}
}
