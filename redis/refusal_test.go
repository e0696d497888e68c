package redis

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/hub"
)

// A panic of rueidis would end the process.
func TestServerThatRefusesPingsEndsNoMachine(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name           string
		refuse, accept func(t *testing.T, s *redisServer)
	}{
		{"it cannot write its snapshots", func(t *testing.T, s *redisServer) {
			t.Helper()
			if err := os.MkdirAll(filepath.Join(s.dir, "dump.rdb", "in the way"), 0o700); err != nil {
				t.Fatal(err)
			}
			s.do("CONFIG", "SET", "save", "3600 1")
			s.do("BGSAVE")
		}, func(_ *testing.T, s *redisServer) { s.do("CONFIG", "SET", "stop-writes-on-bgsave-error", "no") }},
		{"it is busy with a script", func(_ *testing.T, s *redisServer) {
			s.do("CONFIG", "SET", "busy-reply-threshold", "1")
			go func() {
				_, _ = exec.Command("redis-cli", "-p", strconv.Itoa(s.port), "EVAL", "while true do end", "0").Output()
			}()
		}, func(_ *testing.T, s *redisServer) { s.cli("SCRIPT", "KILL") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := startRedis(t)
			m := s.join("")
			m.subscribe("app", "a")
			m.subscribe("app", "b")
			test.refuse(t, s)
			until(t, "it refuses", func() bool {
				answer := s.cli("PING")
				return strings.HasPrefix(answer, "MISCONF") || strings.HasPrefix(answer, "BUSY")
			})
			if err := m.Interest(t.Context(), "app", "a", false); err != nil {
				t.Error(err)
			}
			test.accept(t, s)
			until(t, "it accepts", func() bool { return strings.HasPrefix(s.cli("PING"), "PONG") })
			m.subscribe("app", "c") // its answer is not that to something else
			sent := message("app", "b", "e")
			until(t, "a publish is accepted", func() bool { return m.broker.Publish(t.Context(), []*hub.Message{sent}) == nil })
			until(t, "it arrives", func() bool { return len(m.delivered("app")) > 0 })
		})
	}
}
