package manage

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/seed-c079cc48/caddy-realtime/internal/respond"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// hookRoutes returns the routes of an app's webhooks. They have their own prefix:
// whoever adds a webhook is sent what happens in the app.
func (a *API) hookRoutes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/realtime/webhooks/{id}", Handler: a.route(map[string]adminFunc{
			http.MethodGet:  ofApp(a.listHooks),
			http.MethodPost: a.addHook,
		}, "GET, HEAD, POST")},
		{Pattern: "/realtime/webhooks/{id}/{hook}", Handler: a.route(map[string]adminFunc{
			http.MethodGet:    ofApp(a.showHook),
			http.MethodPatch:  a.patchHook,
			http.MethodDelete: a.removeHook,
		}, "GET, HEAD, PATCH, DELETE")},
		{Pattern: "/realtime/webhooks/{id}/{hook}/rotate", Handler: a.route(map[string]adminFunc{
			http.MethodPost: a.rotateHook,
		}, "POST")},
		{Pattern: "/realtime/webhooks/{id}/{hook}/test", Handler: a.route(map[string]adminFunc{
			http.MethodPost: a.testHook,
		}, "POST")},
	}
}

// A Webhook is the admin API's view of a webhook. It never contains the secret.
type Webhook struct {
	ID            string    `json:"id"`
	URL           string    `json:"url"`
	Events        []string  `json:"events"`         // those that are sent
	DefaultEvents bool      `json:"default_events"` // whether those are the default ones
	Prefix        *string   `json:"prefix"`         // of channels; null: all
	Enabled       bool      `json:"enabled"`
	Problem       *string   `json:"problem"` // why the gateway disabled it
	Created       time.Time `json:"created"`
	Last4         string    `json:"last4"` // of the secret

	// PreviousUntil is until when the secret before this one also signs.
	PreviousUntil *time.Time `json:"previous_secret_until"`

	State *WebhookState `json:"state,omitempty"` // absent if nothing is known
}

// A WebhookState is the admin API's view of a [HookState].
type WebhookState struct {
	Waiting      int               `json:"waiting"`
	Dropped      uint64            `json:"dropped"`
	FailingSince *time.Time        `json:"failing_since"`
	NextAttempt  *time.Time        `json:"next_attempt"`
	Last         []WebhookDelivery `json:"last"`
}

// A WebhookDelivery is the admin API's view of a [Delivery].
type WebhookDelivery struct {
	ID           string    `json:"id"`
	Time         time.Time `json:"time"`
	Events       int       `json:"events"`
	Attempt      int       `json:"attempt"`
	Status       *int      `json:"status"` // null: no answer
	Error        *string   `json:"error"`  // null: received
	Milliseconds float64   `json:"milliseconds"`
}

// An IssuedWebhook is a webhook with its new secret, which is shown only once.
type IssuedWebhook struct {
	Webhook
	Secret string `json:"secret"`
}

func (a *API) listHooks(g *Gateway, app *keystore.App, w http.ResponseWriter, r *http.Request) error {
	respond.JSON(w, http.StatusOK, struct {
		Webhooks []Webhook `json:"webhooks"`
	}{g.ViewHooks(app)})
	return nil
}

func (a *API) showHook(g *Gateway, app *keystore.App, w http.ResponseWriter, r *http.Request) error {
	hook := app.Hook(r.PathValue("hook"))
	if hook == nil {
		return hookError(keystore.ErrHookNotFound, app.ID, r.PathValue("hook"))
	}
	respond.JSON(w, http.StatusOK, g.ViewHook(app.ID, *hook))
	return nil
}

// addHook answers with the secret. It is never shown again.
func (a *API) addHook(g *Gateway, w http.ResponseWriter, r *http.Request) error {
	var body HookPatch
	if err := decodeAdmin(w, r, &body); err != nil {
		return err
	}
	app := r.PathValue("id")
	hook, err := a.operator(g, r).AddHook(app, &body)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/realtime/webhooks/"+app+"/"+hook.ID)
	respond.JSON(w, http.StatusCreated, IssuedWebhook{Webhook: g.ViewHook(app, hook), Secret: hook.Secret})
	return nil
}

func (a *API) patchHook(g *Gateway, w http.ResponseWriter, r *http.Request) error {
	var patch HookPatch
	if err := decodeAdmin(w, r, &patch); err != nil {
		return err
	}
	app := r.PathValue("id")
	hook, err := a.operator(g, r).PatchHook(app, r.PathValue("hook"), &patch)
	if err != nil {
		return err
	}
	respond.JSON(w, http.StatusOK, g.ViewHook(app, hook))
	return nil
}

func (a *API) removeHook(g *Gateway, w http.ResponseWriter, r *http.Request) error {
	if err := a.operator(g, r).RemoveHook(r.PathValue("id"), r.PathValue("hook")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// rotateHook answers with the new secret. It is never shown again.
func (a *API) rotateHook(g *Gateway, w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Overlap string `json:"overlap"`
	}
	if err := decodeAdmin(w, r, &body); err != nil {
		return err
	}
	app := r.PathValue("id")
	hook, err := a.operator(g, r).RotateHookSecret(app, r.PathValue("hook"), body.Overlap)
	if err != nil {
		return err
	}
	respond.JSON(w, http.StatusCreated, IssuedWebhook{Webhook: g.ViewHook(app, hook), Secret: hook.Secret})
	return nil
}

// testHook answers before the event is received. The webhook's state says what came
// of it.
func (a *API) testHook(g *Gateway, w http.ResponseWriter, r *http.Request) error {
	if err := a.operator(g, r).TestHook(r.PathValue("id"), r.PathValue("hook")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// ViewHooks returns the admin API's view of an app's webhooks.
func (g *Gateway) ViewHooks(app *keystore.App) []Webhook {
	views := make([]Webhook, 0, len(app.Hooks))
	for _, h := range app.Hooks {
		views = append(views, g.ViewHook(app.ID, h))
	}
	return views
}

// ViewHook returns the admin API's view of a webhook.
func (g *Gateway) ViewHook(app string, h keystore.Hook) Webhook {
	v := Webhook{
		ID: h.ID, URL: h.URL, Events: h.Events, Prefix: orNull(h.Prefix), Enabled: h.Enabled, Problem: orNull(h.Problem),
		Created: h.Created, Last4: h.Secret[len(h.Secret)-4:],
	}
	if len(h.Events) == 0 {
		v.Events, v.DefaultEvents = keystore.DefaultHookEvents(), true
	}
	if len(h.Secrets(time.Now())) > 1 {
		v.PreviousUntil = timeOrNull(h.PreviousUntil)
	}
	if g.Webhooks == nil {
		return v
	}
	if state, known := g.Webhooks.State(app, h.ID); known {
		v.State = viewHookState(state)
	}
	return v
}

func viewHookState(s HookState) *WebhookState {
	v := &WebhookState{
		Waiting: s.Waiting, Dropped: s.Dropped, FailingSince: utcOrNull(s.FailingSince), NextAttempt: utcOrNull(s.NextAttempt),
		Last: make([]WebhookDelivery, 0, len(s.Last)),
	}
	for _, d := range s.Last {
		v.Last = append(v.Last, WebhookDelivery{
			ID: d.ID, Time: d.Time.UTC(), Events: d.Events, Attempt: d.Attempt, Status: orNull(d.Status), Error: orNull(d.Error),
			Milliseconds: float64(d.Took.Microseconds()) / 1000,
		})
	}
	return v
}

func utcOrNull(t time.Time) *time.Time { return timeOrNull(t.UTC()) }

// A HookPatch adds or changes a webhook. Absent fields stay as they are, or have
// their defaults in a new webhook.
type HookPatch struct {
	URL     *string         `json:"url"`
	Events  json.RawMessage `json:"events"` // null: the default ones
	Prefix  json.RawMessage `json:"prefix"` // null: all channels
	Enabled *bool           `json:"enabled"`
}
