package portal

import (
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

// rows limits the rows of a table.
const rows = 50

// appPage is the data of an app's page, see portal/app.html.
type appPage struct {
	App    manage.App
	ETag   string
	Issued []secret // new keys, shown once
	Keys   []keyRow

	Channels        []manage.Channel
	MoreChannels    bool
	Channel         string // filters the connections; "" shows all
	Connections     []manage.Connection
	MoreConnections bool

	Rules  rulesView
	Tokens tokensView

	Console  console
	Defaults struct{ Publishes, Window, History, HistoryAge, Recovery, MaxChannels, MaxBody string }

	Site       Site
	OtherSites []string // all sites, or nil if Site is the only one

	filling Filling
}

// console holds the values of the console's form.
type console struct {
	Channel, Event, Data string // Channel has one channel per line
	NoHistory            bool
}

func (v *visit) showApp(id string) error {
	app, err := v.app(id)
	if err != nil {
		return err
	}
	return v.showAppAs(app, http.StatusOK, pageView{Notice: notices()[v.r.URL.Query().Get("done")]})
}

// showAppAs shows an app together with the notice or refusal in a view.
func (v *visit) showAppAs(app *keystore.App, status int, view pageView) error {
	view.Title = app.Name
	if view.Content == nil {
		view.Content = v.appPage(app)
	}
	return v.show(status, appTemplate, view)
}

// appPage collects the data of an app's page.
func (v *visit) appPage(app *keystore.App) *appPage {
	query := v.r.URL.Query()
	v.gateway.Registry.RefreshUsed(v.r.Context(), app)
	p := &appPage{
		App:     v.gateway.View(app),
		ETag:    manage.ETag(app),
		Channel: query.Get("channel"),
		Console: console{Channel: "orders.42", Event: "order.updated", Data: `{"id":42}`},
	}
	p.Rules = newRulesView(&p.App, query.Get("rule"), nil, "")
	p.Tokens = newTokensView(app)
	connected := v.gateway.Sockets.CountByKey(app.ID)
	for _, k := range app.Keys {
		p.Keys = append(p.Keys, newKeyRow(v.gateway.ViewKey(k), connected[k.ID]))
	}
	p.Channels, p.MoreChannels = v.channels(app)
	var next string
	p.Connections, next = v.gateway.Sockets.List(app.ID, p.Channel, "", rows)
	p.MoreConnections = next != ""
	d := v.gateway.Defaults()
	p.Defaults.Publishes = strconv.Itoa(d.Publishes)
	p.Defaults.Window = text.ShortDuration(d.Window)
	p.Defaults.History = strconv.Itoa(d.History)
	p.Defaults.HistoryAge = text.ShortDuration(d.HistoryAge)
	p.Defaults.Recovery = text.ShortDuration(d.Recovery)
	p.Defaults.MaxChannels = strconv.Itoa(d.MaxChannels)
	p.Defaults.MaxBody = humanize.IBytes(uint64(d.MaxBody))
	p.choose(v.config.Sites(), query.Get("site"), v.r.Host)
	p.filling.Signs = slices.ContainsFunc(app.SigningKeys(time.Now()), func(k *keystore.Key) bool { return k.Algorithm == keystore.HS256 })
	return p
}

// channels returns the first channels of an app that have subscribers, and whether there
// are more. Members are counted at the same time: each count can wait for other machines.
func (v *visit) channels(app *keystore.App) (channels []manage.Channel, more bool) {
	occupied, more := v.gateway.Channels.List(app.ID, "", "", rows)
	channels = make([]manage.Channel, len(occupied))
	var counts sync.WaitGroup
	for i, c := range occupied {
		channels[i] = manage.Channel{Channel: c.Channel, Subscribers: c.Subscribers}
		if app.Rule(c.Channel).Presence {
			counts.Go(func() { channels[i].Members = new(v.gateway.Presence.Count(app.ID, c.Channel)) })
		}
	}
	counts.Wait()
	return channels, more
}

// choose selects the site for the snippets: the requested one, else the site that
// serves the portal, else the first.
func (p *appPage) choose(all []Site, origin, host string) {
	p.Site = all[0]
	for _, s := range all {
		if s.Origin == origin || origin == "" && (s.Origin == "https://"+host || s.Origin == "http://"+host) {
			p.Site = s
		}
		p.OtherSites = append(p.OtherSites, s.Origin)
	}
	if len(p.OtherSites) == 1 {
		p.OtherSites = nil
	}
	p.filling = Filling{Origin: p.Site.Origin, PublishPath: p.Site.PublishPath, SocketPath: p.Site.SocketPath, AppID: p.App.ID}
}

// Snippets returns the snippets for the selected site.
func (p *appPage) Snippets() []Snippet { return Snippets(p.filling) }
