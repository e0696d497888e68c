package realtime

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/dustin/go-humanize"

	"github.com/seed-c079cc48/caddy-realtime/internal/bounds"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
)

// A setting is a field of Settings: how a Caddyfile sets it, its default, and its
// bounds.
type setting struct {
	name  string
	usual string // the default as a Caddyfile has it; "" if there is none, or none that is fixed
	rate  bool   // it has a count and a window, or another optional second value

	set   func(s *Settings, args []string) error // to the values of its line
	unset func(s *Settings) bool
	check func(s *Settings) error // its bounds; it has a value by then
}

// settingTable has all of them, in the order in which errors list them.
func settingTable() []setting {
	return []setting{
		rateLimitSetting("rate_limit", "600 1m"),
		historySetting("history", "100 2m"),
		sizeSetting("history_memory", "64MiB", func(s *Settings) *int64 { return &s.HistoryMemory }, bounds.CheckSize),
		noneSetting("recovery", "2m", func(s *Settings) **caddy.Duration { return &s.Recovery }),
		recoveryFileSetting("recovery_file"),
		webhookTargetsSetting("webhook_targets", publicTargets),
		noneSetting("presence_grace", "5s", func(s *Settings) **caddy.Duration { return &s.PresenceGrace }),
		nodeAddressSetting("node_address"),
		sizeSetting("max_body", "1MiB", func(s *Settings) *int64 { return &s.MaxBody }, bounds.CheckSize),
		durationSetting("body_timeout", "10s", func(s *Settings) *caddy.Duration { return &s.BodyTimeout }),
		countSetting("max_channels", "100", func(s *Settings) *int { return &s.MaxChannels }),
		durationSetting("ping_interval", "25s", func(s *Settings) *caddy.Duration { return &s.PingInterval }),
		durationSetting("ping_timeout", "20s", func(s *Settings) *caddy.Duration { return &s.PingTimeout }),
		durationSetting("connect_timeout", "10s", func(s *Settings) *caddy.Duration { return &s.ConnectTimeout }),
		countSetting("max_connecting", "5000", func(s *Settings) *int { return &s.MaxConnecting }),
		maxConnectionsSetting("max_connections", "10000"),
		limitSetting("max_connections_per_ip", "100", func(s *Settings) *int { return &s.MaxConnectionsPerIP }),
		rateSetting("connect_rate", "0", "connections", "20 10s", func(s *Settings) **Rate { return &s.ConnectRate }),
		rateSetting("message_rate", "1000 10s", "packets", "1000 10s", func(s *Settings) **Rate { return &s.MessageRate }),
		sizeSetting("max_packet", "64KiB", func(s *Settings) *int64 { return &s.MaxPacket }, checkPacket),
		rateSetting("auth_failures", "30 1m", "wrong credentials", "30 1m", func(s *Settings) **Rate { return &s.AuthFailures }),
		sizeSetting("max_queue", "1MiB", func(s *Settings) *int64 { return &s.MaxQueue }, bounds.CheckSize),
		durationSetting("write_timeout", "10s", func(s *Settings) *caddy.Duration { return &s.WriteTimeout }),
		drainSetting("drain", "15s"),
	}
}

// findSetting returns the setting of that name.
func findSetting(name string) (found setting, ok bool) {
	all := settingTable()
	i := slices.IndexFunc(all, func(s setting) bool { return s.name == name })
	if i < 0 {
		return setting{}, false
	}
	return all[i], true
}

// globalSettings are the names of the global option's lines.
func globalSettings() []string {
	all := settingTable()
	names := append(make([]string, 0, 3+len(all)), "keystore", "broker", "redis")
	for _, s := range all {
		names = append(names, s.name)
	}
	return names
}

// setDefaults fills in what the configuration left out.
func (s *Settings) setDefaults() {
	for _, setting := range settingTable() {
		if setting.usual == "" || !setting.unset(s) {
			continue
		}
		if err := setting.set(s, strings.Fields(setting.usual)); err != nil {
			panic(err) // the table is wrong
		}
	}
	if s.MaxConnections == nil {
		s.MaxConnections = new(defaultMaxConnections())
	}
}

// validate checks the settings once their defaults are filled in.
func (s *Settings) validate() error {
	for _, setting := range settingTable() {
		if err := setting.check(s); err != nil {
			return err
		}
	}
	if s.MaxQueue < s.MaxBody {
		return fmt.Errorf("max_queue (%s) is less than max_body (%s): a message of that size could not be delivered; raise max_queue or lower max_body",
			humanize.IBytes(uint64(s.MaxQueue)), humanize.IBytes(uint64(s.MaxBody)))
	}
	return nil
}

func sizeSetting(name, usual string, field func(*Settings) *int64, check func(string, int64) error) setting {
	return setting{
		name: name, usual: usual,
		set: func(s *Settings, args []string) (err error) {
			*field(s), err = sizeArg(name, args, usual)
			return err
		},
		unset: func(s *Settings) bool { return *field(s) == 0 },
		check: func(s *Settings) error { return check(name, *field(s)) },
	}
}

func durationSetting(name, usual string, field func(*Settings) *caddy.Duration) setting {
	return setting{
		name: name, usual: usual,
		set: func(s *Settings, args []string) (err error) {
			*field(s), err = anyDurationArg(name, args, usual)
			return err
		},
		unset: func(s *Settings) bool { return *field(s) == 0 },
		check: func(s *Settings) error { return bounds.CheckDuration(name, time.Duration(*field(s))) },
	}
}

func countSetting(name, usual string, field func(*Settings) *int) setting {
	return setting{
		name: name, usual: usual,
		set: func(s *Settings, args []string) (err error) {
			*field(s), err = numberArg(name, args, usual)
			return err
		},
		unset: func(s *Settings) bool { return *field(s) == 0 },
		check: func(s *Settings) error { return bounds.CheckCount(name, *field(s)) },
	}
}

// limitSetting is a count of which 0, the default, is no limit.
func limitSetting(name, example string, field func(*Settings) *int) setting {
	return setting{
		name: name,
		set: func(s *Settings, args []string) (err error) {
			*field(s), err = numberArg(name, args, example+noLimit(name))
			return err
		},
		check: func(s *Settings) error { return bounds.CheckLimit(name, *field(s)) },
	}
}

func maxConnectionsSetting(name, example string) setting {
	return setting{
		name: name,
		set: func(s *Settings, args []string) error {
			n, err := numberArg(name, args, example+noLimit(name))
			s.MaxConnections = &n
			return err
		},
		check: func(s *Settings) error {
			if s.MaxConnections == nil {
				return nil
			}
			return bounds.CheckLimit(name, *s.MaxConnections)
		},
	}
}

func rateSetting(name, usual, of, example string, field func(*Settings) **Rate) setting {
	return setting{
		name: name, usual: usual, rate: true,
		set: func(s *Settings, args []string) (err error) {
			*field(s), err = rateArgs(name, args, of, example)
			return err
		},
		unset: func(s *Settings) bool { return *field(s) == nil },
		check: func(s *Settings) error { return (*field(s)).validate(name) },
	}
}

func rateLimitSetting(name, usual string) setting {
	return setting{
		name: name, usual: usual, rate: true,
		set: func(s *Settings, args []string) error {
			rate, err := rateArgs(name, args, "publishes", usual)
			if err == nil {
				s.RateLimit = &RateLimit{Publishes: rate.Count, Window: rate.Window}
			}
			return err
		},
		unset: func(s *Settings) bool { return s.RateLimit == nil },
		check: func(s *Settings) error {
			if s.RateLimit == nil {
				return nil
			}
			return bounds.CheckRate(name, s.RateLimit.Publishes, time.Duration(s.RateLimit.Window))
		},
	}
}

// historySetting is a number of messages, and their age if it is not 0.
func historySetting(name, usual string) setting {
	return setting{
		name: name, usual: usual, rate: true,
		set: func(s *Settings, args []string) (err error) {
			s.History, err = countIn(name, args, "messages", usual+", or "+name+" 0 for none")
			return err
		},
		unset: func(s *Settings) bool { return s.History == nil },
		check: func(s *Settings) error {
			if s.History == nil {
				return nil
			}
			return bounds.CheckHistory(name, s.History.Count, time.Duration(s.History.Window))
		},
	}
}

// noneSetting is a duration that may be 0, for none.
func noneSetting(name, usual string, field func(*Settings) **caddy.Duration) setting {
	return setting{
		name: name, usual: usual,
		set: func(s *Settings, args []string) error {
			d, err := anyDurationArg(name, args, usual)
			*field(s) = &d
			return err
		},
		unset: func(s *Settings) bool { return *field(s) == nil },
		check: func(s *Settings) error {
			d := *field(s)
			if d == nil {
				return nil
			}
			return bounds.CheckRecovery(name, time.Duration(*d))
		},
	}
}

// recoveryFileSetting is a path. Its default depends on the keystore.
func recoveryFileSetting(name string) setting {
	return setting{
		name: name,
		set: func(s *Settings, args []string) (err error) {
			s.RecoveryFile, err = oneArg(name, args, "/var/lib/caddy/realtime.recovery, or "+name+" off")
			return err
		},
		check: func(*Settings) error { return nil },
	}
}

func webhookTargetsSetting(name, usual string) setting {
	return setting{
		name: name, usual: usual,
		set: func(s *Settings, args []string) (err error) {
			s.WebhookTargets, err = oneArg(name, args, publicTargets+", or "+name+" "+anyTargets)
			return err
		},
		unset: func(s *Settings) bool { return s.WebhookTargets == "" },
		check: func(s *Settings) error {
			switch s.WebhookTargets {
			case "", publicTargets, anyTargets:
				return nil
			}
			return fmt.Errorf("%s is %q; it must be %s, or %s for loopback and private addresses, too", name, s.WebhookTargets, publicTargets, anyTargets)
		},
	}
}

// drainSetting is a duration that may be 0 or, in JSON, as older configurations
// have it, negative, which is no drain.
func drainSetting(name, usual string) setting {
	return setting{
		name: name, usual: usual,
		set: func(s *Settings, args []string) error {
			d, err := anyDurationArg(name, args, usual)
			if err == nil && d < 0 {
				err = errors.New("drain is negative; write drain 0s to close sockets at once")
			}
			s.Drain = &d
			return err
		},
		unset: func(s *Settings) bool { return s.Drain == nil },
		check: func(s *Settings) error {
			if s.Drain != nil && time.Duration(*s.Drain) > bounds.MaxDuration {
				return fmt.Errorf("drain is %s; it must be from 0s to %s", text.ShortDuration(time.Duration(*s.Drain)), text.ShortDuration(bounds.MaxDuration))
			}
			return nil
		},
	}
}
