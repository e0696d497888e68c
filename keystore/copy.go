package keystore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

// A CopyOpener is an Opener whose stores are opened in another way to copy them: the
// store itself, never a copy of it. If create is false, a store that does not exist is
// not created, and the error is fs.ErrNotExist.
type CopyOpener interface {
	OpenToCopy(logger *zap.Logger, create bool) (Store, error)
}

// Counts are the contents of a store, in numbers.
type Counts struct {
	Apps         int `json:"apps"`
	Keys         int `json:"keys"`
	Rules        int `json:"rules"` // of the apps that do not have the default rules
	Webhooks     int `json:"webhooks"`
	RevokedUsers int `json:"revoked_users"`
}

func (c *Counts) add(a *App) {
	c.Apps++
	c.Keys += len(a.Keys)
	c.Rules += len(a.Rules)
	c.Webhooks += len(a.Hooks)
	c.RevokedUsers += len(a.RevokedUsers)
}

// A CopyPlan is what a copy has to do.
type CopyPlan struct {
	Missing Counts // the destination lacks this
	Present Counts // the destination has this already

	apps    []*App // of the source, oldest first
	missing []*App
	used    map[string]time.Time
}

// maxNamed is how many apps an error names.
const maxNamed = 10

// PlanCopy compares two stores, and changes neither. to can be nil, for one that does
// not exist. It is an error if the destination has other apps than the source, or one
// of them with other contents.
func PlanCopy(ctx context.Context, from, to Store) (*CopyPlan, error) {
	apps, err := from.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the source: %w", err)
	}
	used, err := from.LoadUsed(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading when the keys of the source were last used: %w", err)
	}
	slices.SortFunc(apps, order)
	p := &CopyPlan{apps: apps, used: used}
	var there []*App
	if to != nil {
		if there, err = to.Load(ctx); err != nil {
			return nil, fmt.Errorf("reading the destination: %w", err)
		}
	}
	has := byID(there)
	for _, app := range apps {
		if same(has[app.ID], app) {
			p.Present.add(app)
		} else {
			p.Missing.add(app)
			p.missing = append(p.missing, app)
		}
	}
	source := byID(apps)
	var inTheWay []string
	for _, app := range there {
		if !same(source[app.ID], app) {
			inTheWay = append(inTheWay, app.ID)
		}
	}
	if len(inTheWay) > 0 {
		return nil, fmt.Errorf("the destination has apps of its own, which the source lacks or has with other contents: %s. "+
			"Nothing was changed. Copy into an empty keystore (another directory or prefix), or delete these apps there first", named(inTheWay))
	}
	return p, nil
}

// Copy writes what the destination lacks, reads everything back, and compares. After an
// error, it can be planned and run again.
func (p *CopyPlan) Copy(ctx context.Context, from, to Store) error {
	for _, app := range p.missing {
		if err := to.Put(ctx, nil, app); err != nil {
			return fmt.Errorf("writing app %s: %w", app.ID, err)
		}
	}
	if err := p.copyUsed(ctx, to); err != nil {
		return err
	}
	for _, read := range []struct {
		store Store
		what  string
	}{
		{to, "the destination does not have what was written, or another process changed it; stop all gateways that use it, and copy again into an empty keystore"},
		{from, "the source was changed while it was copied; stop all gateways that use it, and copy again into an empty keystore"},
	} {
		apps, err := read.store.Load(ctx)
		if err != nil {
			return fmt.Errorf("reading back: %w", err)
		}
		if ids := differing(p.apps, apps); len(ids) > 0 {
			return fmt.Errorf("%s: %s", read.what, named(ids))
		}
	}
	return nil
}

// copyUsed copies when keys were last used, and keeps later times.
func (p *CopyPlan) copyUsed(ctx context.Context, to Store) error {
	known, err := to.LoadUsed(ctx)
	if err != nil {
		return fmt.Errorf("reading when the keys of the destination were last used: %w", err)
	}
	for _, app := range p.apps {
		used, newer := make(map[string]time.Time), false
		for _, key := range app.Keys {
			at, before := p.used[key.ID].Truncate(time.Microsecond), known[key.ID] // what every store can keep
			newer = newer || at.After(before)
			if at.Before(before) {
				at = before
			}
			if !at.IsZero() {
				used[key.ID] = at
			}
		}
		if !newer {
			continue
		}
		if err := to.PutUsed(ctx, app.ID, used); err != nil {
			return fmt.Errorf("writing when the keys of app %s were last used: %w", app.ID, err)
		}
	}
	return nil
}

func byID(apps []*App) map[string]*App {
	all := make(map[string]*App, len(apps))
	for _, app := range apps {
		all[app.ID] = app
	}
	return all
}

// differing returns the ids of the apps that only one of them has, or each differently.
func differing(apps, others []*App) (ids []string) {
	one, other := byID(apps), byID(others)
	for id, app := range one {
		if !same(app, other[id]) {
			ids = append(ids, id)
		}
	}
	for id := range other {
		if one[id] == nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// named lists ids, if they are many only the first.
func named(ids []string) string {
	slices.Sort(ids)
	if more := len(ids) - maxNamed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(ids[:maxNamed], ", "), more)
	}
	return strings.Join(ids, ", ")
}
