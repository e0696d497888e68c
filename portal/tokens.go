package portal

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/manage"
)

// tokensView is the section of an app's page about tokens. A token is in no URL, and
// only on the page that answers its form.
type tokensView struct {
	CanMake bool // the app has a secret that signs tokens

	Pasted, Channel string // the form to check a token
	Checked         *checkedToken

	Make tokenForm
	Made *madeToken
}

// tokenForm holds the values of the form to make a token.
type tokenForm struct {
	User, Channels, Info, ExpiresIn string
	Open                            bool // it was refused, and is shown again
}

// checkedToken is what a token is worth.
type checkedToken struct {
	manage.CheckedToken
	RuleNumber int // of the rule of the channel that was asked for, 0 if it has none
}

// madeToken is a new token, shown once.
type madeToken struct {
	manage.Token
	User, Snippet string
}

func newTokensView(app *keystore.App) tokensView {
	v := tokensView{Make: tokenForm{User: "42", Channels: "private-user.42", ExpiresIn: "1h"}}
	for _, key := range app.SigningKeys(time.Now()) {
		v.CanMake = v.CanMake || key.Algorithm == keystore.HS256
	}
	return v
}

// Pretty returns JSON with line ends, for people.
func (c checkedToken) Pretty(raw json.RawMessage) string {
	var b bytes.Buffer
	if json.Indent(&b, raw, "", "  ") != nil {
		return string(raw)
	}
	return b.String()
}

// checkToken shows what the form's token is worth. It is not a change.
func (v *visit) checkToken(app *keystore.App) error {
	raw, channel := strings.TrimSpace(v.r.PostForm.Get("token")), strings.TrimSpace(v.r.PostForm.Get("channel"))
	page := v.appPage(app)
	page.Tokens.Channel = channel
	checked, err := manage.CheckToken(app, raw, channel, time.Now())
	if checked.Header != nil { // anything else may be a key
		page.Tokens.Pasted = raw
	}
	if err != nil {
		return v.refuseOn(page, err)
	}
	page.Tokens.Checked = &checkedToken{CheckedToken: checked}
	if c := checked.Channel; c != nil {
		page.Tokens.Checked.RuleNumber = manage.RuleOf(page.App.Channels, c.Channel) + 1
	}
	return v.showAppAs(app, http.StatusOK, pageView{Content: page})
}

// makeToken shows a new token, with the code that connects with it.
func (v *visit) makeToken(app *keystore.App) error {
	form := v.r.PostForm
	typed := tokenForm{form.Get("user"), form.Get("channels"), form.Get("info"), form.Get("expires_in"), true}
	var made manage.Token
	before, err := v.once(func() (string, error) {
		wanted, err := typed.read()
		if err != nil {
			return "", err
		}
		if made, err = v.operator().CreateToken(app.ID, wanted); err != nil {
			return "", err
		}
		return app.ID, nil
	})
	if before != "" {
		return v.sentAlready(before)
	}
	page := v.appPage(app)
	page.Tokens.Make = typed
	if err != nil {
		return v.refuseOn(page, err)
	}
	page.Tokens.Make.Open = false
	page.Tokens.Made = &madeToken{Token: made, User: typed.User, Snippet: tokenSnippet(page.filling, made.Token, typed.Channels)}
	return v.showAppAs(app, http.StatusCreated, pageView{Content: page})
}

// read returns the token that the form describes.
func (f *tokenForm) read() (*manage.NewToken, error) {
	wanted := &manage.NewToken{User: new(strings.TrimSpace(f.User))}
	for _, channel := range channelLines(f.Channels) {
		grant, err := text.JSON(channel)
		if err != nil {
			return nil, err
		}
		wanted.Channels = append(wanted.Channels, grant)
	}
	if info := strings.TrimSpace(f.Info); info != "" {
		if !json.Valid([]byte(info)) {
			return nil, apierr.InvalidRequest(`info is not JSON. A text needs quotes of its own: {"name":"Ann"}.`)
		}
		wanted.Info = json.RawMessage(info)
	}
	if life := strings.TrimSpace(f.ExpiresIn); life != "" {
		wanted.ExpiresIn = &life
	}
	return wanted, nil
}

// tokenSnippet returns the code that connects with a token and subscribes to the
// first of its channels.
func tokenSnippet(f Filling, token, channels string) string {
	path, subscribe := "", ""
	if f.SocketPath != "" {
		path = "\n  path: " + jsString(URLPath(f.SocketPath)) + ","
	}
	if lines := channelLines(channels); len(lines) > 0 {
		channel := lines[0]
		if prefix, ok := strings.CutSuffix(channel, "*"); ok {
			channel = prefix + "1"
		}
		subscribe = "\nsocket.on(\"connect\", () => socket.emit(\"subscribe\", " + jsString(channel) + "));"
	}
	return fill(userSnippet, "origin", jsString(f.Origin), "path", path, "app", jsString(f.AppID), "token", jsString(token), "subscribe", subscribe)
}

const userSnippet = `import { io } from "socket.io-client";

// To try it. An application gets a token from its backend at each connect:
// auth: async (send) => send({ appId, token: await getToken() })
const socket = io(<origin>, {<path>
  transports: ["websocket", "polling"],
  auth: {
    appId: <app>,
    token: <token>,
  },
});
<subscribe>
socket.onAny(console.log);
socket.on("connect_error", (err) => console.error(err.message, err.data));
socket.on("subscribe_error", (err) => console.error(err.message, err.code));`
