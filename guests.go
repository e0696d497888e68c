package realtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/command"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

func init() {
	caddy.RegisterModule(new(BadgerKeystore))
	caddy.RegisterModule(new(MemoryBroker))
}

// Namespaces of guest modules.
const (
	keystores = command.Keystores
	brokers   = "realtime.brokers"
)

// BadgerKeystore is the module `realtime.keystores.badger`, the default: it keeps
// apps and keys in a directory on this machine.
type BadgerKeystore struct {
	// Path of the store's directory. Default: "realtime" in Caddy's data
	// directory.
	Path string `json:"path,omitempty"`

	dir string // Path, absolute
}

// CaddyModule returns the Caddy module information.
func (*BadgerKeystore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: keystores + ".badger", New: func() caddy.Module { return new(BadgerKeystore) }}
}

// Provision sets up the module. It does not open the store.
func (k *BadgerKeystore) Provision(caddy.Context) error {
	path, err := replaceSetting("keystore", k.Path)
	if err != nil {
		return err
	}
	if path == "" {
		path = filepath.Join(caddy.AppDataDir(), "realtime")
	}
	if k.dir, err = filepath.Abs(path); err != nil {
		return fmt.Errorf("keystore path: %w", err)
	}
	return nil
}

// Identity implements keystore.Opener.
func (k *BadgerKeystore) Identity() string { return k.dir }

// Open implements keystore.Opener.
func (k *BadgerKeystore) Open(logger *zap.Logger) (keystore.Store, error) {
	return keystore.OpenBadger(k.dir, logger)
}

// OpenToCopy implements keystore.CopyOpener.
func (k *BadgerKeystore) OpenToCopy(logger *zap.Logger, create bool) (keystore.Store, error) {
	return keystore.OpenBadgerToCopy(k.dir, logger, create)
}

// UnmarshalCaddyfile sets up the module: badger <dir>.
func (k *BadgerKeystore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // badger
	args := d.RemainingArgs()
	const example = "badger /var/lib/caddy/realtime"
	switch {
	case len(args) == 0 || args[0] == "":
		return errMissingArg("keystore", example)
	case len(args) > 1:
		return errExtraArg("keystore", args[1], example)
	case d.NextBlock(0):
		return errors.New("keystore badger takes no block; remove the braces")
	}
	k.Path = args[0]
	return checkPlaceholders("keystore", args)
}

// MemoryBroker is the module `realtime.brokers.memory`, the default: it delivers
// messages within one process.
type MemoryBroker struct{}

// CaddyModule returns the Caddy module information.
func (*MemoryBroker) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: brokers + ".memory", New: func() caddy.Module { return new(MemoryBroker) }}
}

// Identity implements hub.Opener.
func (*MemoryBroker) Identity() string { return "memory" }

// Open implements hub.Opener.
func (*MemoryBroker) Open(*zap.Logger) (hub.Broker, error) { return hub.NewMemory(), nil }

// UnmarshalCaddyfile sets up the module: memory.
func (*MemoryBroker) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // memory
	if args := d.RemainingArgs(); len(args) > 0 {
		return errExtraArg("broker", args[0], "memory")
	}
	if d.NextBlock(0) {
		return errors.New("broker memory takes no block; remove the braces")
	}
	return nil
}

// parseGuest reads a setting that names a guest module: the setting, the module's
// name, and the module's arguments or block.
func parseGuest(d *caddyfile.Dispenser, namespace, example string) (json.RawMessage, error) {
	d.Next()
	setting := d.Val()
	if !d.NextArg() {
		return nil, errMissingArg(setting, example)
	}
	name := d.Val()
	if hasPlaceholder(name) { // resolved when the configuration is loaded
		return parseUnknownGuest(d, setting, example)
	}
	if err := command.CheckModule(setting, namespace, name); err != nil {
		return nil, err
	}
	module, err := caddyfile.UnmarshalModule(d, namespace+"."+name)
	if err != nil {
		return nil, err
	}
	return caddyconfig.JSONModuleObject(module, "type", name, nil), nil
}

// parseRedis reads the setting redis, which is short for a keystore and a broker that
// are both in Redis.
func (a *App) parseRedis(d *caddyfile.Dispenser) error {
	if a.KeystoreRaw != nil || a.BrokerRaw != nil {
		return errors.New("redis stands for keystore redis and broker redis; remove the lines of keystore and broker, or write these two")
	}
	d.Next()
	line := d.NextSegment()
	for _, guest := range []struct {
		setting, namespace string
		raw                *json.RawMessage
	}{{"keystore", keystores, &a.KeystoreRaw}, {"broker", brokers, &a.BrokerRaw}} {
		if err := command.CheckModule(guest.setting, guest.namespace, "redis"); err != nil {
			return err
		}
		again := caddyfile.NewDispenser(line)
		again.Next()
		module, err := caddyfile.UnmarshalModule(again, guest.namespace+".redis")
		if err != nil {
			return err
		}
		*guest.raw = caddyconfig.JSONModuleObject(module, "type", "redis", nil)
	}
	return nil
}

// parseUnknownGuest reads the line of a module whose name is not known yet. It
// assumes the arguments of the example's module: a path or none.
func parseUnknownGuest(d *caddyfile.Dispenser, setting, example string) (json.RawMessage, error) {
	args := append([]string{d.Val()}, d.RemainingArgs()...)
	most := len(strings.Fields(example))
	switch {
	case len(args) < most || args[most-1] == "":
		return nil, errMissingArg(setting, example)
	case len(args) > most:
		return nil, errExtraArg(setting, args[most], example)
	}
	if d.NextBlock(0) {
		return nil, fmt.Errorf("%s %s takes no block, as its module is not known yet; write the module's name", setting, args[0])
	}
	if err := checkPlaceholders(setting, args); err != nil {
		return nil, err
	}
	config := map[string]string{"type": args[0]}
	if most > 1 {
		config["path"] = args[1]
	}
	return json.Marshal(config)
}

// loadGuest loads the guest module of a field of the app. name is the default
// module, for a configuration that names none.
func loadGuest[T any](ctx caddy.Context, app *App, setting, namespace, field string, raw *json.RawMessage, name string) (guest T, err error) {
	config := map[string]json.RawMessage{}
	if len(*raw) > 0 {
		if err := json.Unmarshal(*raw, &config); err != nil || config == nil {
			return guest, fmt.Errorf(`%s is %s; it must be an object, for example {"type":%q}`, setting, *raw, name)
		}
	}
	if text, ok := config["type"]; ok {
		if err := json.Unmarshal(text, &name); err != nil {
			return guest, fmt.Errorf("%s's type is %s; it must be a string", setting, text)
		}
		if name, err = replaceSetting(setting, name); err != nil {
			return guest, err
		}
	}
	if err := command.CheckModule(setting, namespace, name); err != nil {
		return guest, err
	}
	config["type"], _ = json.Marshal(name) // a string
	if *raw, err = json.Marshal(config); err != nil {
		return guest, err
	}
	module, err := ctx.LoadModule(app, field)
	if err != nil {
		return guest, fmt.Errorf("%s: %w", setting, err)
	}
	guest, ok := module.(T)
	if !ok {
		return guest, fmt.Errorf("the module %s.%s is of type %T, which is not a %s", namespace, name, module, setting)
	}
	return guest, nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*BadgerKeystore)(nil)
	_ caddyfile.Unmarshaler = (*BadgerKeystore)(nil)
	_ keystore.Opener       = (*BadgerKeystore)(nil)
	_ keystore.CopyOpener   = (*BadgerKeystore)(nil)
	_ caddyfile.Unmarshaler = (*MemoryBroker)(nil)
	_ hub.Opener            = (*MemoryBroker)(nil)
)
