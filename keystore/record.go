package keystore

import (
	"encoding/json"
	"fmt"
	"time"
)

// format is the version of the records that this package writes, in each of
// them and once for the store.
const format = 1

// record is an app on disk.
type record struct {
	V              int         `json:"v"`
	ID             string      `json:"id"`
	Name           string      `json:"name"`
	Created        time.Time   `json:"created"`
	Disabled       bool        `json:"disabled,omitempty"`
	Rate           *rateRecord `json:"rate,omitempty"`
	AllowedOrigins []string    `json:"allowed_origins,omitempty"`
	Keys           []keyRecord `json:"keys"`
}

type rateRecord struct {
	Limit  int           `json:"limit"`
	Window time.Duration `json:"window"` // nanoseconds
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

func encodeApp(a *App) ([]byte, error) {
	r := record{
		V: format, ID: a.ID, Name: a.Name, Created: a.Created, Disabled: a.Disabled,
		Rate: (*rateRecord)(a.Rate), AllowedOrigins: a.AllowedOrigins,
	}
	for _, k := range a.Keys {
		r.Keys = append(r.Keys, keyRecord(k))
	}
	return json.Marshal(r)
}

// decodeApp reads the record of an app. What it cannot read whole is an error:
// an app with a key lost is worse than a server that does not start.
func decodeApp(id string, data []byte) (*App, error) {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("the record of app %q is damaged: %w", id, err)
	}
	switch {
	case r.V > format:
		return nil, fmt.Errorf("the record of app %q has format %d, this version reads %d: run the newer version that wrote it", id, r.V, format)
	case r.V != format || r.ID != id:
		return nil, fmt.Errorf("the record of app %q is damaged: it is of format %d and names %q", id, r.V, r.ID)
	}
	a := &App{
		ID: r.ID, Name: r.Name, Created: r.Created, Disabled: r.Disabled,
		Rate: (*Rate)(r.Rate), AllowedOrigins: r.AllowedOrigins,
	}
	for _, k := range r.Keys {
		if len(k.Hash) != 32 || k.Kind != Publish && k.Kind != Subscribe {
			return nil, fmt.Errorf("the record of app %q is damaged: key %q", id, k.ID)
		}
		a.Keys = append(a.Keys, Key(k))
	}
	return a, nil
}
