package realtime

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/dustin/go-humanize"

	"github.com/seed-c079cc48/caddy-realtime/access"
	"github.com/seed-c079cc48/caddy-realtime/internal/bounds"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("realtime", parseGlobalOption)
	httpcaddyfile.RegisterHandlerDirective("realtime", parseDirective)
	// After directives that guard a site, including "respond @strangers 403" and
	// basic_auth, and before directives that answer every path.
	httpcaddyfile.RegisterDirectiveOrder("realtime", httpcaddyfile.Before, "reverse_proxy")
	httpcaddyfile.RegisterHandlerDirective("realtime_portal", parsePortalDirective)
	httpcaddyfile.RegisterDirectiveOrder("realtime_portal", httpcaddyfile.Before, "reverse_proxy")
}

func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next()
		return nil, d.Err("duplicate global option realtime; put its settings into one block")
	}
	var app App
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "realtime", Value: caddyconfig.JSON(&app, nil)}, nil
}

func parseDirective(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile sets up the app from the global option. Syntax, with
// default values:
//
//	realtime {
//		keystore        badger <dir>
//		broker          memory
//		redis           <url>
//		rate_limit      600 1m
//		history         100 2m
//		history_memory  64MiB
//		recovery        2m
//		webhook_targets public|any
//		presence_grace  5s
//		recovery_file   <path>|off
//		node_address    <url> [<listen address>]
//		max_body        1MiB
//		body_timeout    10s
//		max_channels    100
//		ping_interval   25s
//		ping_timeout    20s
//		connect_timeout 10s
//		max_connecting  5000
//		max_connections <n>
//		max_connections_per_ip 0
//		connect_rate    0
//		message_rate    1000 10s
//		max_packet      64KiB
//		auth_failures   30 1m
//		max_queue       1MiB
//		write_timeout   10s
//		drain           15s
//	}
//
// Values can contain placeholders, for example {env.MAX_BODY}; see
// checkPlaceholders.
//
// redis is short for keystore redis <url> and broker redis <url>, which are in a build
// with caddy-realtime/redis. The keystore's directory defaults to "realtime" in Caddy's data directory.
// rate_limit is the number of publishes per app in any window of that length.
// history is how many of its newest messages a channel keeps, and for how long;
// "history 0" keeps none. history_memory bounds the memory of all of them.
// recovery is how long a client can be away and still get what it missed;
// "recovery 0s" turns that off. presence_grace is how long a user stays in a
// channel with presence after its last socket has left. webhook_targets any lets
// webhooks point to loopback and private addresses. node_address is where the other
// machines of a broker reach this one, for long-polling clients that reach several of
// them. max_channels applies to each
// socket. max_connecting limits the clients that are connecting at the same time;
// one address can have a quarter of them.
// max_connections limits all clients, by default to nine tenths of the
// process's file descriptors; max_connections_per_ip limits the clients of one
// address. connect_rate limits the connections that an address opens,
// message_rate the packets that a client sends, and auth_failures the wrong
// credentials that an address sends before it is slowed down. For all of these
// and rate_limit, 0 means no limit. max_queue limits the bytes queued for one
// client and must be at least max_body. "drain 0s" closes sockets immediately
// at exit.
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the option's name
	err := eachSetting(d, func(name string, args []string) error {
		if hasPlaceholder(args...) {
			return a.postpone(name, args)
		}
		return a.set(name, args)
	}, map[string]func(*caddyfile.Dispenser) error{
		"keystore": func(d *caddyfile.Dispenser) (err error) {
			if a.KeystoreRaw != nil {
				return errors.New("redis stands for keystore redis, too; remove one of the lines")
			}
			a.KeystoreRaw, err = parseGuest(d, keystores, "badger /var/lib/caddy/realtime")
			return err
		},
		"broker": func(d *caddyfile.Dispenser) (err error) {
			if a.BrokerRaw != nil {
				return errors.New("redis stands for broker redis, too; remove one of the lines")
			}
			a.BrokerRaw, err = parseGuest(d, brokers, "memory")
			return err
		},
		"redis": a.parseRedis,
	})
	if err != nil {
		return err
	}
	if len(a.postponed) > 0 {
		return nil // Validate reports all of them
	}
	effective := a.Settings
	effective.setDefaults()
	if err := effective.validate(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// set sets one setting to the values of its line.
func (a *App) set(name string, args []string) error {
	setting, ok := findSetting(name)
	if !ok {
		return errors.New("unknown setting " + name + " of the global option realtime; valid settings: " + strings.Join(globalSettings(), ", ") + elsewhere(name))
	}
	if err := setting.set(&a.Settings, args); err != nil {
		return err
	}
	return setting.check(&a.Settings)
}

// UnmarshalCaddyfile sets up the handler from the directive. Syntax, with
// default values:
//
//	realtime [<matcher>] {
//		publish_path /publish
//		socket_path  /socket.io
//		api_path     <path>
//		docs_path    <path>
//		origins      *
//	}
//
// Without api_path there is no API for backends, and without docs_path no
// documentation page. An origin is written as
// https://app.example.com[:port]; https://*.example.org for all subdomains at
// any depth, without example.org itself; null; or * for any origin. The site's
// own pages need not be listed.
//
// The directive runs after basic_auth, handle and respond, and before
// reverse_proxy and file_server. A path that a rewrite replaced is still served. A
// respond, redir or handle without a matcher answers every request: give it one,
// for example "@not_realtime not path /socket.io* /publish*". Caddy logs a warning
// about this when it loads the configuration.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	err := eachSetting(d, func(name string, args []string) (err error) {
		switch name {
		case "publish_path":
			h.PublishPath, err = pathArg(name, args, defaultPublishPath)
		case "socket_path":
			h.SocketPath, err = pathArg(name, args, defaultSocketPath)
		case "api_path":
			h.APIPath, err = pathArg(name, args, "/realtime-api")
		case "docs_path":
			h.DocsPath, err = pathArg(name, args, "/docs")
		case "origins":
			if len(args) == 0 {
				return errMissingArg(name, "https://app.example.com")
			}
			h.Origins = args
			if hasPlaceholder(args...) {
				return checkPlaceholders(name, args)
			}
			_, err = access.ParseOrigins(args)
		default:
			err = errors.New("unknown setting " + name + " of the directive realtime; valid settings: publish_path, socket_path, api_path, docs_path, origins" + elsewhere(name))
		}
		return err
	}, nil)
	if err != nil {
		return err
	}
	if h.hasPlaceholder() {
		return nil // Provision checks their values
	}
	if err := h.validate(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// eachSetting calls set for each line of the optional block. It rejects
// arguments before the block, nested blocks, and duplicate settings. Errors
// include the file and line. The functions in guests read the lines of their
// settings, including nested blocks.
func eachSetting(d *caddyfile.Dispenser, set func(name string, args []string) error, guests map[string]func(*caddyfile.Dispenser) error) error {
	name := d.Val()
	if d.NextArg() {
		return d.Errf("%s takes no argument, but got %s; its settings go into a block: %s { … }", name, d.Val(), name)
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		if seen[name] {
			return d.Errf("duplicate %s; remove one", name)
		}
		seen[name] = true
		if guest, ok := guests[name]; ok {
			segment := d.NextSegment()
			at := caddyfile.NewDispenser(segment)
			at.Next()
			err := guest(caddyfile.NewDispenser(segment))
			if err != nil && !strings.Contains(err.Error(), ", at "+at.File()+":") { // a guest may have named the line
				err = at.WrapErr(err)
			}
			if err != nil {
				return err
			}
			continue
		}
		args := d.RemainingArgs()
		if err := set(name, args); err != nil {
			return d.WrapErr(err)
		}
		if d.NextBlock(d.Nesting()) {
			return d.Errf("%s takes no block; remove the braces", name)
		}
	}
	return nil
}

// elsewhere helps who wrote a setting of the site into the global option, or
// the other way round.
func elsewhere(name string) string {
	switch name {
	case "publish_path", "socket_path", "api_path", "docs_path", "origins":
		return "; " + name + " goes into the site's realtime directive"
	}
	if slices.Contains(globalSettings(), name) {
		return "; " + name + " goes into the global option realtime, at the top of the Caddyfile"
	}
	return ""
}

// rateArgs takes how many of something there may be in which window.
func rateArgs(name string, args []string, of, example string) (*Rate, error) {
	r, err := countIn(name, args, of, example+noLimit(name))
	if err != nil {
		return nil, err
	}
	return r, r.validate(name)
}

// countIn reads a count and a window, which a count of 0 does not have.
func countIn(name string, args []string, of, example string) (*Rate, error) {
	if len(args) == 0 {
		return nil, errMissingArg(name, example)
	}
	count, err := strconv.Atoi(args[0])
	if err != nil {
		return nil, fmt.Errorf("%s's %q is not a number of %s; for example: %s %s", name, args[0], of, name, example)
	}
	r := &Rate{Count: count}
	switch {
	case count == 0 && len(args) > 1:
		return nil, errExtraArg(name, args[1], example)
	case count == 0:
		return r, nil
	case len(args) == 1:
		return nil, errMissingArg(name, example)
	}
	r.Window, err = durationArg(name, args[1:], example)
	return r, err
}

// noLimit follows an example whose setting has no limit if it is 0.
func noLimit(name string) string { return ", or " + name + " 0 for no limit" }

func pathArg(name string, args []string, example string) (string, error) {
	p, err := oneArg(name, args, example)
	if err != nil {
		return "", err
	}
	if hasPlaceholder(p) {
		return p, checkPlaceholders(name, args)
	}
	return p, checkPath(name, p)
}

func sizeArg(name string, args []string, example string) (int64, error) {
	s, err := oneArg(name, args, example)
	if err != nil {
		return 0, err
	}
	n, err := humanize.ParseBytes(s)
	if err != nil || n > math.MaxInt64 {
		return 0, fmt.Errorf("%s %q is not a size; for example: %s %s", name, s, name, example)
	}
	return int64(n), bounds.CheckSize(name, int64(n))
}

func numberArg(name string, args []string, example string) (int, error) {
	s, err := oneArg(name, args, example)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, fmt.Errorf("%s %q is not a number; for example: %s %s", name, s, name, example)
	}
	return n, nil
}

// durationArg parses a duration within the bounds of all durations.
func durationArg(name string, args []string, example string) (caddy.Duration, error) {
	d, err := anyDurationArg(name, args, example)
	if err != nil {
		return 0, err
	}
	return d, bounds.CheckDuration(name, time.Duration(d))
}

func anyDurationArg(name string, args []string, example string) (caddy.Duration, error) {
	s, err := oneArg(name, args, example)
	if err != nil {
		return 0, err
	}
	d, err := caddy.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%s %q is not a duration; for example: %s %s", name, s, name, example)
	}
	return caddy.Duration(d), nil
}

func oneArg(name string, args []string, example string) (string, error) {
	switch {
	case len(args) == 0 || args[0] == "":
		return "", errMissingArg(name, example)
	case len(args) > 1:
		return "", errExtraArg(name, args[1], example)
	}
	return args[0], nil
}

func errMissingArg(name, example string) error {
	return fmt.Errorf("%s is missing its value; for example: %s %s", name, name, example)
}

func errExtraArg(name, extra, example string) error {
	return fmt.Errorf("%s has an extra value, %q; for example: %s %s", name, extra, name, example)
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*App)(nil)
	_ caddyfile.Unmarshaler = (*Handler)(nil)
)
