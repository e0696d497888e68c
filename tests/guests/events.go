package guests

import (
	"context"
	"encoding/json"
	"os"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
)

// Note is the module `events.handlers.note`: it appends each event to a file as a line
// of JSON, after a delay.
type Note struct {
	File  string         `json:"file,omitempty"`
	Delay caddy.Duration `json:"delay,omitempty"`
}

func init() { caddy.RegisterModule(new(Note)) }

// CaddyModule returns the Caddy module information.
func (*Note) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.note", New: func() caddy.Module { return new(Note) }}
}

// UnmarshalCaddyfile sets up the module: note <file> [<delay>].
func (n *Note) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // note
	args := d.RemainingArgs()
	if len(args) == 0 || len(args) > 2 {
		return d.ArgErr()
	}
	n.File = args[0]
	if len(args) < 2 {
		return nil
	}
	delay, err := caddy.ParseDuration(args[1])
	n.Delay = caddy.Duration(delay)
	return err
}

// Handle implements caddyevents.Handler.
func (n *Note) Handle(ctx context.Context, e caddy.Event) error {
	select {
	case <-time.After(time.Duration(n.Delay)):
	case <-ctx.Done():
		return ctx.Err()
	}
	var module caddy.ModuleID
	if origin := e.Origin(); origin != nil { // events of Caddy itself have none
		module = origin.CaddyModule().ID
	}
	line, err := json.Marshal(map[string]any{"name": e.Name(), "module": module, "data": e.Data})
	if err != nil {
		return err
	}
	file, err := os.OpenFile(n.File, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(append(line, '\n'))
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}

// Interface guards
var (
	_ caddyevents.Handler   = (*Note)(nil)
	_ caddyfile.Unmarshaler = (*Note)(nil)
)
