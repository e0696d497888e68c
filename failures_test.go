package realtime

import (
	"net/http"
	"testing"
	"time"
)

func TestWrongKeysAreSlowAndRightOnesAreNot(t *testing.T) {
	s := newPublishServer(t, nil)
	publish := func(key string) (int, time.Duration) {
		r := s.request(t, goodBody)
		r.Header.Set("Authorization", "Bearer "+key)
		begin := time.Now()
		res, _ := s.do(t, r)
		return res.StatusCode, time.Since(begin)
	}
	for range s.endpoint.settings.AuthFailures.Count {
		publish("pk_live_wrong")
	}
	if status, took := publish("pk_live_wrong"); status != http.StatusUnauthorized || took < time.Second {
		t.Errorf("a wrong key: %d after %v", status, took)
	}
	if status, took := publish(s.shop.publishKey); status != http.StatusOK || took >= time.Second {
		t.Errorf("a right key: %d after %v", status, took)
	}
}
