package portal

import (
	"net/http"
	"strings"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

// secret is a key in plain text, shown once.
type secret struct {
	Kind keystore.Kind
	Key  string
	ID   string // of a key that was added or rotated
}

// Signs reports whether the key signs tokens, and therefore is not only kept as a
// hash.
func (s secret) Signs() bool { return s.Kind == keystore.Sign }

// Name is what people call the key.
func (s secret) Name() string {
	if s.Signs() {
		return "signing key"
	}
	return string(s.Kind) + " key"
}

// keyRow is a key in the portal's table.
type keyRow struct {
	manage.Key
	State     string
	Valid     bool
	Connected int // sockets that connected with it
}

func newKeyRow(k manage.Key, connected int) keyRow {
	row := keyRow{Key: k, Connected: connected}
	row.State, row.Valid = k.State()
	return row
}

// Name is what people recognise the key by.
func (k keyRow) Name() string {
	if k.IsPublic() {
		return "public key …" + k.Last4
	}
	return k.Kind.Prefix() + "…" + k.Last4
}

// Allows says what the key is for.
func (k keyRow) Allows() string {
	if k.Kind != keystore.Publish {
		return strings.TrimSpace(string(k.Kind) + " " + string(k.Algorithm))
	}
	allows := make([]string, 0, len(k.Scopes))
	for _, scope := range k.Scopes {
		allows = append(allows, string(scope))
	}
	return strings.Join(allows, ", ")
}

// Signs reports whether the key signs tokens.
func (k keyRow) Signs() bool { return k.Kind == keystore.Sign }

// IsPublic reports whether the private half of the key is elsewhere.
func (k keyRow) IsPublic() bool { return k.Signs() && k.Algorithm != keystore.HS256 }

// Connects reports whether clients connect with the key, or with its tokens.
func (k keyRow) Connects() bool { return k.Kind != keystore.Publish }

// showIssued shows an app with its new keys.
func (v *visit) showIssued(app *keystore.App, secrets ...secret) error {
	page := v.appPage(app)
	page.Issued = secrets
	for _, s := range secrets {
		if s.Kind == keystore.Subscribe {
			page.filling.SubscribeKey = s.Key
		}
	}
	return v.showAppAs(app, http.StatusCreated, pageView{Content: page})
}
