package portal

import (
	"net/http"
	"strconv"

	"github.com/dustin/go-humanize"

	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

// rows bounds the rows of a table of the portal.
const rows = 50

// appPage is what the portal shows of an app, see portal/app.html.
type appPage struct {
	App    manage.App
	ETag   string
	Issued []secret // keys that were made just now
	Keys   []keyRow

	Channels        []manage.Channel
	MoreChannels    bool
	Channel         string // whose connections are shown, "" for all
	Connections     []manage.Connection
	MoreConnections bool

	Console  console
	Defaults struct{ Publishes, Window, MaxChannels, MaxBody string }

	Site       Site
	OtherSites []string // with Site's, unless it is the only one

	filling Filling
}

// secret is a key as it is shown once.
type secret struct {
	Kind keystore.Kind
	Key  string
}

// console is what its form has.
type console struct{ Channel, Event, Data string }

// keyRow is a key in the portal's table.
type keyRow struct {
	manage.Key
	Prefix     string
	State      string
	Valid      bool
	Subscribes bool
	Connected  int // sockets that it let in
}

func (v *visit) showApp(id string) error {
	app, err := v.app(id)
	if err != nil {
		return err
	}
	return v.showAppAs(app, http.StatusOK, pageView{Notice: notices()[v.r.URL.Query().Get("done")]})
}

// showAppAs shows an app with what a view has beside it.
func (v *visit) showAppAs(app *keystore.App, status int, view pageView) error {
	view.Title = app.Name
	if view.Content == nil {
		view.Content = v.appPage(app)
	}
	return v.show(status, appTemplate, view)
}

// appPage gathers what there is to show of an app.
func (v *visit) appPage(app *keystore.App) *appPage {
	query := v.r.URL.Query()
	p := &appPage{
		App:     v.gateway.View(app),
		ETag:    manage.ETag(app),
		Channel: query.Get("channel"),
		Console: console{Channel: "orders.42", Event: "order.updated", Data: `{"id":42}`},
	}
	connected := v.gateway.Sockets.CountByKey(app.ID)
	for _, k := range app.Keys {
		p.Keys = append(p.Keys, newKeyRow(v.gateway.ViewKey(k), connected[k.ID]))
	}
	channels, more := v.gateway.Channels.List(app.ID, "", "", rows)
	for _, c := range channels {
		p.Channels = append(p.Channels, manage.Channel(c))
	}
	p.MoreChannels = more
	var next string
	p.Connections, next = v.gateway.Sockets.List(app.ID, p.Channel, "", rows)
	p.MoreConnections = next != ""
	d := v.gateway.Defaults()
	p.Defaults.Publishes = strconv.Itoa(d.Publishes)
	p.Defaults.Window = text.ShortDuration(d.Window)
	p.Defaults.MaxChannels = strconv.Itoa(d.MaxChannels)
	p.Defaults.MaxBody = humanize.IBytes(uint64(d.MaxBody))
	p.choose(v.config.Sites(), query.Get("site"), v.r.Host)
	return p
}

func newKeyRow(k manage.Key, connected int) keyRow {
	row := keyRow{Key: k, Prefix: k.Kind.Prefix(), Subscribes: k.Kind == keystore.Subscribe, Connected: connected}
	row.State, row.Valid = k.State()
	return row
}

// choose takes the site that snippets are for: the one asked for, else the one
// that the portal is on, else the first.
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

// Snippets are those for the site that was chosen.
func (p *appPage) Snippets() []Snippet { return Snippets(p.filling) }

// showIssued shows an app with keys that were made just now.
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
