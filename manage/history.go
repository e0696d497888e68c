package manage

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/respond"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
	"github.com/seed-c079cc48/caddy-realtime/socketio"
)

// A Message is the view of a message in a channel's history.
type Message struct {
	ID     string          `json:"id"`
	Offset uint64          `json:"offset"`
	Time   time.Time       `json:"time"`
	Event  string          `json:"event"`
	Data   json.RawMessage `json:"data,omitempty"`
}

// Messages is a part of a channel's history. The fields are those of subscribed,
// where they have the same names.
type Messages struct {
	Channel  string    `json:"channel"`
	ID       *string   `json:"id"`       // where the channel stands; null: not known yet
	Complete bool      `json:"complete"` // whether there are all since the position
	Reason   string    `json:"reason,omitempty"`
	Messages []Message `json:"messages"`
	More     bool      `json:"more"`
}

// listMessages answers with what a channel keeps.
func (c *call) listMessages() error {
	query := c.r.URL.Query()
	limit, err := pageLimit(query)
	if err != nil {
		return err
	}
	var since *hub.Position
	if id := query.Get("since"); id != "" {
		position, ok := hub.ParseID(id)
		if !ok {
			return apierr.InvalidPosition()
		}
		since = &position
	}
	order := query.Get("order")
	if order != "" && order != "asc" && order != "desc" {
		return apierr.InvalidRequest("order is %s. It is asc, the oldest message first, or desc.", text.Quote(order))
	}
	past, err := c.Channels.Past(c.r.Context(), c.app.ID, c.channel, since, limit, order == "desc")
	switch {
	case errors.Is(err, hub.ErrPosition):
		return apierr.InvalidPosition()
	case err != nil:
		return fmt.Errorf("reading the history: %w", err)
	}
	answer := Messages{
		Channel: c.channel, Complete: past.Missing == "", Reason: string(past.Missing),
		Messages: make([]Message, 0, len(past.Messages)), More: past.More,
	}
	if past.Position.Epoch != "" {
		answer.ID = new(past.Position.ID())
	}
	for _, m := range past.Messages {
		event, data := socketio.ParseText(m.Text)
		answer.Messages = append(answer.Messages, Message{m.ID, m.Offset, m.Time.UTC().Truncate(time.Millisecond), event, data})
	}
	respond.JSON(c.w, http.StatusOK, answer)
	return nil
}
