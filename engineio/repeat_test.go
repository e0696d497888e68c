package engineio_test

import (
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/engineio"
)

// As when a load balancer sends a poll again whose answer it has not got.
func TestAPollThatIsRepeatedAfterItsAnswerEndsTheSession(t *testing.T) {
	srv := serve(t, config(), app{})
	client := srv.openPolling()
	p := srv.peer(client.SID)
	client.posts("4first", 200)
	client.stamp = "x1k2.a"
	client.gets(200, "4first")
	client.posts("4second", 200)
	client.gets(400, "")
	p.endsWith(engineio.TransportError)
}

func TestPollsOfClientsWhoseURLsAreNotUniqueGoOn(t *testing.T) {
	for _, stamp := range []string{"", "1", "abc", "1764319200", "1764319200.25"} {
		srv := serve(t, config(), app{})
		client := srv.openPolling()
		client.stamp = stamp
		for range 3 {
			client.posts("4hello", 200)
			client.gets(200, "4hello")
		}
	}
}

func TestPollsWithAStampOfTheirOwnGoOn(t *testing.T) {
	srv := serve(t, config(), app{})
	client := srv.openPolling()
	for _, stamp := range []string{"x1k2a", "x1k2b", "x1k2a"} {
		client.stamp = stamp
		client.posts("4hello", 200)
		client.gets(200, "4hello")
	}
}
