package redis

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/rueidis"
	"go.uber.org/zap"
)

// minPubSubBuffer is the hard limit of a subscriber's output buffer, in bytes, below
// which a machine that is busy for a moment is cut off. Redis' default is 32 MiB.
const minPubSubBuffer = 32 << 20

// versionError is the error of a server that is too old.
type versionError struct{ at, version string }

func (e *versionError) Error() string {
	return fmt.Sprintf("redis at %s has version %s; Redis 7.0 or Valkey is needed: upgrade it", e.at, e.version)
}

// inspect returns an error if the server is too old or the user lacks a right, and logs settings that lose data. A
// user who may not ask is no error. Callers do so once, not after each reconnect.
func (s *Server) inspect(client rueidis.Client, log *zap.Logger, keystore bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	text, unknown := client.Do(ctx, client.B().Info().Build()).ToString()
	info := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	if err := s.checkVersion(info["redis_version"]); err != nil { // first, because earlier versions lack what follows
		return err
	}
	commands := brokerCommands
	if keystore {
		commands = keystoreCommands
	}
	if err := s.checkRights(ctx, client, commands); err != nil {
		return err
	}
	if unknown != nil {
		log.Debug("the server's version and settings are not known: the user may not run INFO", zap.Error(s.explain(unknown)))
		return nil
	}
	config, err := client.Do(ctx, client.B().ConfigGet().Parameter("save", "client-output-buffer-limit").Build()).AsStrMap()
	if err != nil {
		log.Debug("some of the server's settings are not known: the user may not run CONFIG GET", zap.Error(s.explain(err)))
	}
	if keystore {
		adviseKeystore(info, config, log)
	} else {
		adviseBroker(config, log)
	}
	return nil
}

// checkVersion returns an error for a version before 7.0. Valkey says 7.2.4 here.
func (s *Server) checkVersion(version string) error {
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err == nil && n < 7 {
		return &versionError{strings.Join(s.option.InitAddress, ", "), version}
	}
	return nil
}

// adviseKeystore logs settings that lose apps and keys.
func adviseKeystore(info, config map[string]string, log *zap.Logger) {
	policy := info["maxmemory_policy"]
	if limit := info["maxmemory"]; limit != "" && limit != "0" && policy != "noeviction" {
		log.Error("redis removes apps and keys when its memory is full",
			zap.String("maxmemory_policy", policy), zap.String("command", "CONFIG SET maxmemory-policy noeviction"))
	}
	if save, ok := config["save"]; ok && save == "" && info["aof_enabled"] == "0" {
		log.Warn("redis keeps nothing on its disk: a restart of it loses all apps and keys",
			zap.String("command", "CONFIG SET appendonly yes"))
	}
}

// adviseBroker logs a limit that cuts off busy machines.
func adviseBroker(config map[string]string, log *zap.Logger) {
	words := strings.Fields(config["client-output-buffer-limit"]) // class, hard, soft, seconds, again and again
	i := slices.Index(words, "pubsub")
	if i < 0 || i+1 >= len(words) {
		return
	}
	if hard, err := strconv.ParseInt(words[i+1], 10, 64); err == nil && hard > 0 && hard < minPubSubBuffer {
		log.Info("redis cuts off a machine that is busy for a moment; it then reads what it missed",
			zap.Int64("pubsub_hard_limit", hard), zap.String("command", `CONFIG SET client-output-buffer-limit "pubsub 32mb 8mb 60"`))
	}
}
