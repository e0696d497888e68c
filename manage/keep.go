package manage

import (
	"encoding/json"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/bounds"
	"github.com/seed-c079cc48/caddy-realtime/internal/jsonscan"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// keep is what a patch says about messages for clients that were away. nil stands
// for null.
type keep struct {
	history  *keystore.History
	recovery *time.Duration
}

func (p *Patch) keep() (k keep, err error) {
	if k.history, err = p.history(); err != nil {
		return keep{}, err
	}
	k.recovery, err = p.recovery()
	return k, err
}

// history returns the history that the patch sets: nil for the default, or if it
// sets none.
func (p *Patch) history() (*keystore.History, error) {
	if jsonscan.IsNull(p.History) {
		return nil, nil
	}
	return historyOf(p.History)
}

// recovery returns the time that the patch sets, likewise.
func (p *Patch) recovery() (*time.Duration, error) {
	if jsonscan.IsNull(p.Recovery) {
		return nil, nil
	}
	var said string
	err := json.Unmarshal(p.Recovery, &said)
	var d time.Duration
	if err == nil {
		d, err = caddy.ParseDuration(said)
	}
	if err != nil {
		return nil, apierr.InvalidRequest(`recovery is a duration: "2m". No recovery is "0s", and the default null.`)
	}
	if err := bounds.CheckRecovery("recovery", d); err != nil {
		return nil, apierr.InvalidRequest("%s.", err)
	}
	return &d, nil
}
