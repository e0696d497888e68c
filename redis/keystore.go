package redis

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(new(Keystore))
}

// Keystore is the module `realtime.keystores.redis`: it keeps apps and keys in Redis,
// where several gateways share them. A change that one of them makes is known to the
// others within a second.
//
// A change is as durable as Redis makes it: with `appendonly yes` and `appendfsync
// always` it is on disk before it is answered; with the default `appendfsync everysec`
// a power failure can lose the last second; a failover can lose what was not replicated
// yet, unless durability is replica; and without `appendonly` or snapshots, a restart of Redis loses all apps. Redis
// must not evict keys (`maxmemory-policy noeviction`, the default).
//
// Without Redis, a gateway that runs serves the apps it knows, and one that starts
// serves the last copy on disk. Changes are refused until Redis is back.
type Keystore struct {
	Server

	// Copy is the file with the last known apps and keys, which a start without Redis
	// reads. Only the user who runs Caddy can read it. It can have placeholders.
	// Default: a file in Caddy's data directory, realtime-redis-*.json, whose name
	// depends on the server and the prefix.
	Copy string `json:"copy,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Keystore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "realtime.keystores.redis", New: func() caddy.Module { return new(Keystore) }}
}

// Provision sets up the module. It does not connect to Redis.
func (k *Keystore) Provision(caddy.Context) error {
	if err := k.provision("keystore"); err != nil {
		return err
	}
	path, err := caddy.NewReplacer().ReplaceOrErr(k.Copy, true, true)
	if err != nil {
		return fmt.Errorf("keystore redis: copy: %w", err)
	}
	if path == "" {
		sum := sha256.Sum256([]byte(k.place()))
		path = filepath.Join(caddy.AppDataDir(), "realtime-redis-"+hex.EncodeToString(sum[:8])+".json")
	}
	if k.Copy, err = filepath.Abs(path); err != nil {
		return fmt.Errorf("keystore redis: copy: %w", err)
	}
	return nil
}

// Open implements keystore.Opener. If Redis cannot be reached, it succeeds if there is
// a copy on disk. A wrong password, or a right that the user lacks, is an error in any
// case.
func (k *Keystore) Open(logger *zap.Logger) (keystore.Store, error) {
	s := k.store(logger)
	s.copy.Store(&copyFile{path: k.Copy, identity: k.place()})
	s.kept, s.copyErr = s.copy.Load().read()
	if err := s.reach(); err != nil {
		if !unreachable(err) || s.kept == nil {
			return nil, s.withoutCopy(err)
		}
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.work.Go(s.keepCopy)
	return s, nil
}

// OpenToCopy implements keystore.CopyOpener. It neither reads nor writes the copy on
// disk, which belongs to the gateway.
func (k *Keystore) OpenToCopy(logger *zap.Logger, _ bool) (keystore.Store, error) {
	s := k.store(logger)
	if err := s.reach(); err != nil {
		return nil, err
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s, nil
}

func (k *Keystore) store(logger *zap.Logger) *store {
	s := &store{
		server: &k.Server,
		names:  namesOf(&k.Server),
		log:    logger,
		dirty:  make(chan struct{}, 1),
		seen:   unknownVersion,
	}
	s.copy.Store(new(copyFile))
	return s
}

// UnmarshalCaddyfile sets up the module:
//
//	redis <url> {
//		prefix     <prefix>
//		durability replica
//		copy       <file>
//	}
func (k *Keystore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return k.unmarshal(d, wordSetting{"copy", "/var/lib/caddy/keystore.json", &k.Copy})
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Keystore)(nil)
	_ caddyfile.Unmarshaler = (*Keystore)(nil)
	_ keystore.Opener       = (*Keystore)(nil)
	_ keystore.CopyOpener   = (*Keystore)(nil)
)
