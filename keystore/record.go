package keystore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// format is the newest version of an app's record. Increase it for anything that
// an older version would not understand, including a new field, and have
// formatOf return it for the apps that need it.
const format = 4

// storeFormat is the version of the store around the records, written once. An
// older version refuses a store with a newer one as a whole.
const storeFormat = 1

// formatOf returns the oldest format that has all of the app, so that an older
// version can still read what it understands. Format 2 added history and
// recovery, format 3 rules, users, scopes and signing keys, format 4 webhooks.
func formatOf(a *App) int {
	if len(a.Hooks) > 0 {
		return 4
	}
	if a.Rules != nil || len(a.RevokedUsers) > 0 || a.MaxConnectionsPerUser != 0 ||
		slices.ContainsFunc(a.Keys, func(k Key) bool { return k.Kind == Sign || k.Scopes != nil }) {
		return 3
	}
	if a.History != nil || a.Recovery != nil {
		return 2
	}
	return 1
}

// record is an app on disk.
type record struct {
	V              int            `json:"v"`
	ID             string         `json:"id"`
	Name           string         `json:"name"`
	Created        time.Time      `json:"created"`
	Disabled       bool           `json:"disabled,omitempty"`
	Rate           *rateRecord    `json:"rate,omitempty"`
	History        *historyRecord `json:"history,omitempty"`
	Recovery       *time.Duration `json:"recovery,omitempty"` // nanoseconds
	Rules          *[]ruleRecord  `json:"rules,omitempty"`
	MaxConnections int            `json:"max_connections,omitempty"`
	MaxChannels    int            `json:"max_channels,omitempty"`
	MaxBody        int64          `json:"max_body,omitempty"`
	AllowedOrigins []string       `json:"allowed_origins,omitempty"`

	MaxConnectionsPerUser int                  `json:"max_connections_per_user,omitempty"`
	RevokedUsers          map[string]time.Time `json:"revoked_users,omitempty"`

	Hooks []hookRecord `json:"hooks,omitempty"`
	Keys  []keyRecord  `json:"keys"`
}

type rateRecord struct {
	Limit  int           `json:"limit"`
	Window time.Duration `json:"window"` // nanoseconds
}

type historyRecord struct {
	Messages int           `json:"messages"`
	Age      time.Duration `json:"age"` // nanoseconds
}

type ruleRecord struct {
	Match        string         `json:"match"`
	Access       Access         `json:"access"`
	Presence     bool           `json:"presence,omitempty"`
	ClientEvents bool           `json:"client_events,omitempty"`
	History      *historyRecord `json:"history,omitempty"`
}

type hookRecord struct {
	ID            string    `json:"id"`
	URL           string    `json:"url"`
	Events        []string  `json:"events,omitempty"`
	Prefix        string    `json:"prefix,omitempty"`
	Enabled       bool      `json:"enabled,omitempty"`
	Problem       string    `json:"problem,omitempty"`
	Created       time.Time `json:"created"`
	Secret        string    `json:"secret"`
	Previous      string    `json:"previous,omitempty"`
	PreviousUntil time.Time `json:"previous_until,omitzero"`
}

type keyRecord struct {
	ID        string    `json:"id"`
	Kind      Kind      `json:"kind"`
	Label     string    `json:"label,omitempty"`
	Scopes    []Scope   `json:"scopes,omitempty"`
	Hash      []byte    `json:"sha256"`
	Last4     string    `json:"last4"`
	Algorithm Algorithm `json:"algorithm,omitempty"`
	Verifier  []byte    `json:"verifier,omitempty"`
	Created   time.Time `json:"created"`
	Expires   time.Time `json:"expires,omitzero"`
	Revoked   time.Time `json:"revoked,omitzero"`
}

// Encode returns an app's JSON record for a store to keep. It rejects whatever
// Decode rejects.
func Encode(a *App) ([]byte, error) {
	if err := a.validate(); err != nil {
		return nil, err
	}
	r := record{
		V: formatOf(a), ID: a.ID, Name: a.Name, Created: a.Created, Disabled: a.Disabled,
		Rate: (*rateRecord)(a.Rate), AllowedOrigins: a.AllowedOrigins,
		History: (*historyRecord)(a.History), Recovery: a.Recovery,
		MaxConnections: a.MaxConnections, MaxChannels: a.MaxChannels, MaxBody: a.MaxBody,
		MaxConnectionsPerUser: a.MaxConnectionsPerUser, RevokedUsers: a.RevokedUsers,
	}
	if a.Rules != nil {
		rules := make([]ruleRecord, 0, len(a.Rules))
		for _, rule := range a.Rules {
			rules = append(rules, ruleRecord{rule.Match, rule.Access, rule.Presence, rule.ClientEvents, (*historyRecord)(rule.History)})
		}
		r.Rules = &rules
	}
	for _, h := range a.Hooks {
		r.Hooks = append(r.Hooks, hookRecord(h))
	}
	for _, k := range a.Keys {
		r.Keys = append(r.Keys, keyRecord{k.ID, k.Kind, k.Label, k.Scopes, k.Hash, k.Last4, k.Algorithm, k.Verifier, k.Created, k.Expires, k.Revoked})
	}
	return json.Marshal(r)
}

// Decode reads the record of the app with that id. It fails if it cannot read the
// whole record:
// an app that lost a key is worse than a server that does not start.
func Decode(id string, data []byte) (*App, error) {
	// Read the version first: in a newer record, everything else can differ.
	var head struct {
		V int `json:"v"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("the record of app %q is damaged: %w", id, err)
	}
	if head.V > format {
		return nil, fmt.Errorf("the record of app %q has format %d and this version reads %d: run the newer version that wrote it", id, head.V, format)
	}
	a, err := decodeRecord(data)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the record of app %q is damaged: %w", id, err)
	case head.V < 1 || a.ID != id:
		return nil, fmt.Errorf("the record of app %q is damaged: it has format %d, and the id %q", id, head.V, a.ID)
	}
	return a, nil
}

func decodeRecord(data []byte) (*App, error) {
	var r record
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("unexpected data follows its %d bytes", d.InputOffset())
	}
	a := &App{
		ID: r.ID, Name: r.Name, Created: r.Created, Disabled: r.Disabled,
		Rate: (*Rate)(r.Rate), AllowedOrigins: r.AllowedOrigins,
		History: (*History)(r.History), Recovery: r.Recovery,
		MaxConnections: r.MaxConnections, MaxChannels: r.MaxChannels, MaxBody: r.MaxBody,
		MaxConnectionsPerUser: r.MaxConnectionsPerUser, RevokedUsers: r.RevokedUsers,
	}
	if r.Rules != nil {
		a.Rules = make([]Rule, 0, len(*r.Rules))
		for _, rule := range *r.Rules {
			a.Rules = append(a.Rules, Rule{rule.Match, rule.Access, rule.Presence, rule.ClientEvents, (*History)(rule.History)})
		}
	}
	for _, h := range r.Hooks {
		a.Hooks = append(a.Hooks, Hook(h))
	}
	for _, k := range r.Keys {
		a.Keys = append(a.Keys, Key{
			ID: k.ID, Kind: k.Kind, Label: k.Label, Scopes: k.Scopes, Hash: k.Hash, Last4: k.Last4,
			Algorithm: k.Algorithm, Verifier: k.Verifier, Created: k.Created, Expires: k.Expires, Revoked: k.Revoked,
		})
	}
	return a, a.validate()
}
