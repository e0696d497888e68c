// Package redis has a keystore and a broker that keep everything in Redis, so that
// several gateways share apps, keys, limits and channels: the Caddy modules
// realtime.keystores.redis and realtime.brokers.redis. They need Redis 7 or Valkey: a
// single server, Sentinel, or Cluster.
//
// It is a Go module of its own, because its client library adds 10 MB to a binary,
// which a gateway on a single machine need not have.
package redis

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/redis/rueidis"
)

// defaultPrefix begins all keys and channels.
const defaultPrefix = "rt"

// openTimeout bounds an attempt to connect for the first time.
const openTimeout = 5 * time.Second

// A Server is where a keystore or a broker finds Redis.
type Server struct {
	// URL is redis://[user:password@]host[:6379][/db], or rediss:// for TLS. It can have
	// placeholders, and parameters:
	//
	//	redis://user:password@sentinel1:26379/0?master_set=name&addr=sentinel2:26379
	//	redis://user:password@node1:6379?addr=node2:6379
	//	rediss://user:password@host:6379?ca_file=ca.pem&cert_file=client.pem&key_file=client.key
	//
	// Sentinel's has the name of the primary, master_set, and the sentinels instead of the
	// server; user and password are those of the server, while sentinel_user and
	// sentinel_password are for the sentinels. addr is a further sentinel, or a further
	// node of Cluster. With TLS, sentinels use it, too. ca_file is the certificate of the
	// authority that signed the servers' certificates, by default those that the system
	// trusts; cert_file and key_file are a certificate for servers that demand one, read
	// again for each connection. skip_verify accepts any certificate, for tests.
	URL string `json:"url,omitempty"`

	// Prefix begins the names of all keys. Gateways with different prefixes share
	// nothing. Default: rt.
	Prefix string `json:"prefix,omitempty"`

	// Durability is when a write counts: replica waits until a replica of Redis has it, so
	// that a failover to this replica loses nothing that was answered. A publish or a change
	// of an app that no replica has after two seconds is an error, although it was made.
	// Default: empty, it counts once the primary has it.
	Durability string `json:"durability,omitempty"`

	option rueidis.ClientOption
	access *atomic.Pointer[access]
	writes chan struct{} // has one element for each write that waits for a replica
}

// validPrefix leaves out what separates the parts of a key, and what chooses its slot.
var validPrefix = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// provision reads the URL. setting is the one to name in errors, which have no part of
// the URL, because that can have a password.
func (s *Server) provision(setting string) error {
	replacer := caddy.NewReplacer()
	for _, field := range []*string{&s.URL, &s.Prefix, &s.Durability} {
		text, err := replacer.ReplaceOrErr(*field, true, true)
		if err != nil {
			return fmt.Errorf("%s redis: %w", setting, err)
		}
		*field = text
	}
	if s.URL == "" {
		return fmt.Errorf("%s redis needs the URL of the server: %s redis redis://10.0.0.5:6379", setting, setting)
	}
	if err := s.parse(); err != nil {
		return fmt.Errorf("%s redis: %w", setting, err)
	}
	if s.Prefix == "" {
		s.Prefix = defaultPrefix
	}
	if !validPrefix.MatchString(s.Prefix) {
		return fmt.Errorf("%s redis: the prefix %q has other characters than letters, digits and . _ -, or more than 64", setting, s.Prefix)
	}
	if err := s.checkDurability(); err != nil {
		return fmt.Errorf("%s redis: %w", setting, err)
	}
	return nil
}

// Identity implements the Openers of keystore and hub: where the server is, without
// user and password, and how it is written to.
func (s *Server) Identity() string {
	if s.Durability != "" {
		return s.place() + " durability " + s.Durability
	}
	return s.place()
}

// place returns where the server is, without user and password.
func (s *Server) place() string {
	scheme := "redis"
	if s.option.TLSConfig != nil {
		scheme = "rediss"
	}
	place := fmt.Sprintf("%s://%s/%d %s", scheme, strings.Join(s.option.InitAddress, ","), s.option.SelectDB, s.Prefix)
	if set := s.option.Sentinel.MasterSet; set != "" {
		place += " " + set
	}
	return place
}

// connect returns a client that has reached the server. change changes its options.
func (s *Server) connect(change func(*rueidis.ClientOption)) (rueidis.Client, error) {
	option := s.option
	option.ClientName = "caddy-realtime"
	option.DisableCache = true // nothing is cached on the client's side
	option.ClientSetInfo = rueidis.DisableClientSetInfo
	if option.Sentinel.MasterSet != "" { // finds the new primary if Sentinel's message was lost
		option.Sentinel.TopologyRefreshInterval = 5 * time.Second
	}
	s.useAccess(&option)
	if change != nil {
		change(&option)
	}
	client, err := rueidis.NewClient(option)
	if err != nil {
		return nil, s.explain(s.diagnose(context.Background(), err))
	}
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	if err := client.Do(ctx, client.B().Ping().Build()).Error(); err != nil {
		client.Close()
		return nil, s.explain(err)
	}
	return client, nil
}

// UnmarshalCaddyfile sets up the server from the rest of a line:
//
//	redis <url> {
//		prefix     <prefix>
//		durability replica
//	}
func (s *Server) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return s.unmarshal(d)
}

// A wordSetting is a setting of one word in a block.
type wordSetting struct {
	name, example string
	word          *string // where it goes
}

// unmarshal is UnmarshalCaddyfile with further settings.
func (s *Server) unmarshal(d *caddyfile.Dispenser, further ...wordSetting) error {
	settings := append([]wordSetting{{"prefix", "shop", &s.Prefix}, {"durability", "replica", &s.Durability}}, further...)
	d.Next() // redis
	args := d.RemainingArgs()
	switch {
	case len(args) == 0 || args[0] == "":
		return d.Err("redis needs the URL of the server: redis redis://10.0.0.5:6379")
	case len(args) > 1:
		return d.Errf("redis takes one URL; remove %s. Further servers stand in it: ?addr=10.0.0.6:6379", args[1])
	}
	s.URL = args[0]
	for d.NextBlock(0) {
		if err := unmarshalWord(d, settings); err != nil {
			return err
		}
	}
	return nil
}

// unmarshalWord reads a line of the block.
func unmarshalWord(d *caddyfile.Dispenser, settings []wordSetting) error {
	name := d.Val()
	i := slices.IndexFunc(settings, func(s wordSetting) bool { return s.name == name })
	if i < 0 && name == "copy" {
		return d.Err("copy is a setting of the keystore; in place of redis <url>, write keystore redis <url> with copy in its block, and broker redis <url>")
	}
	if i < 0 {
		examples := make([]string, 0, len(settings))
		for _, s := range settings {
			examples = append(examples, s.name+" "+s.example)
		}
		return d.Errf("unknown setting %s of redis; it takes, for example: %s", name, strings.Join(examples, ", "))
	}
	setting := settings[i]
	if *setting.word != "" {
		return d.Errf("duplicate %s", name)
	}
	if !d.AllArgs(setting.word) || *setting.word == "" {
		return d.Errf("%s takes one word: %s %s", name, name, setting.example)
	}
	return nil
}

// sleep waits, at most until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
