package redis

import (
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// openedBroker returns what a broker logs when it is opened.
func openedBroker(t *testing.T, url string) *observer.ObservedLogs {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	module := Broker{Server{URL: url}}
	if err := module.provision("broker"); err != nil {
		t.Fatal(err)
	}
	opened, err := module.Open(zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	if err := opened.Close(); err != nil {
		t.Error(err)
	}
	return logs
}

func TestSettingsOfRedisThatLoseAppsAreLogged(t *testing.T) {
	t.Parallel()
	const evicts, forgets = "redis removes apps and keys when its memory is full", "redis keeps nothing on its disk: a restart of it loses all apps and keys"
	for _, c := range []struct {
		name            string
		args            []string
		evicts, forgets bool
	}{
		{"neither persistence nor a limit", nil, false, true},
		{"a file of changes", []string{"--appendonly", "yes"}, false, false},
		{"snapshots", []string{"--save", "60 1"}, false, false},
		{"eviction", []string{"--appendonly", "yes", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"}, true, false},
		{"eviction of nothing", []string{"--appendonly", "yes", "--maxmemory", "100mb"}, false, false},
		{"eviction without a limit", []string{"--appendonly", "yes", "--maxmemory-policy", "volatile-lru"}, false, false},
	} {
		m := newHolder(t, startRedis(t, c.args...).url())
		m.open()
		for message, want := range map[string]bool{evicts: c.evicts, forgets: c.forgets} {
			entries := m.logs.FilterMessage(message).All()
			if (len(entries) == 1) != want || len(entries) > 1 {
				t.Errorf("%s: %d of %q", c.name, len(entries), message)
			}
			for _, entry := range entries {
				if level := map[string]zapcore.Level{evicts: zapcore.ErrorLevel, forgets: zapcore.WarnLevel}[message]; entry.Level != level || entry.ContextMap()["command"] == "" {
					t.Errorf("%s: %+v", c.name, entry)
				}
			}
		}
	}
}

func TestSmallBufferOfSubscribersIsLogged(t *testing.T) {
	const message = "redis cuts off a machine that is busy for a moment; it then reads what it missed"
	for limit, want := range map[string]int{"pubsub 32mb 8mb 60": 0, "pubsub 0 0 0": 0, "pubsub 1mb 512kb 60": 1} {
		s := startRedis(t, "--client-output-buffer-limit", limit)
		if got := openedBroker(t, s.url()).FilterMessage(message).FilterLevelExact(zapcore.InfoLevel).Len(); got != want {
			t.Errorf("%s: logged %d times, want %d", limit, got, want)
		}
	}
}

func TestUserWhoMayNotAskForSettingsIsNoError(t *testing.T) {
	for _, commands := range []string{"-info", "-config"} {
		s := startRedis(t)
		if err := s.do("ACL", "SETUSER", "default", "on", "nopass", "~*", "&*", "+@all", commands).Error(); err != nil {
			t.Fatal(err)
		}
		logs := openedBroker(t, s.defaultURL())
		if n := logs.FilterLevelExact(zapcore.DebugLevel).Len(); n != 1 || logs.Len() != 1 {
			t.Errorf("%s: %v", commands, logs.All())
		}
	}
}

func TestServerBefore7IsRefused(t *testing.T) {
	s := Server{URL: "redis://10.0.0.5"}
	if err := s.provision("broker"); err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"7.0.0", "7.2.4", "8.2.1", "255.255.255", ""} {
		if err := s.checkVersion(version); err != nil {
			t.Error(err)
		}
	}
	err := s.explain(s.checkVersion("6.2.14"))
	wantError(t, err, "10.0.0.5:6379", "6.2.14", "7.0", "upgrade")
	if unreachable(err) {
		t.Error("a gateway would start from its copy")
	}
}
