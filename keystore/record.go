package keystore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// format is the newest version of an app's record. Increase it for anything that
// an older version would not understand, including a new field, and have
// formatOf return it for the apps that need it.
const format = 2

// storeFormat is the version of the store around the records, written once. An
// older version refuses a store with a newer one as a whole.
const storeFormat = 1

// formatOf returns the oldest format that has all of the app, so that an older
// version can still read what it understands. Format 2 added history and
// recovery.
func formatOf(a *App) int {
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
	MaxConnections int            `json:"max_connections,omitempty"`
	MaxChannels    int            `json:"max_channels,omitempty"`
	MaxBody        int64          `json:"max_body,omitempty"`
	AllowedOrigins []string       `json:"allowed_origins,omitempty"`
	Keys           []keyRecord    `json:"keys"`
}

type rateRecord struct {
	Limit  int           `json:"limit"`
	Window time.Duration `json:"window"` // nanoseconds
}

type historyRecord struct {
	Messages int           `json:"messages"`
	Age      time.Duration `json:"age"` // nanoseconds
}

type keyRecord struct {
	ID      string    `json:"id"`
	Kind    Kind      `json:"kind"`
	Label   string    `json:"label,omitempty"`
	Hash    []byte    `json:"sha256"`
	Last4   string    `json:"last4"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
	Revoked time.Time `json:"revoked,omitzero"`
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
	}
	for _, k := range a.Keys {
		r.Keys = append(r.Keys, keyRecord(k))
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
	}
	for _, k := range r.Keys {
		a.Keys = append(a.Keys, Key(k))
	}
	return a, a.validate()
}
