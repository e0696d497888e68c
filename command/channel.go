package command

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/seed-c079cc48/caddy-realtime/manage"
	"github.com/seed-c079cc48/caddy-realtime/message"
	"github.com/seed-c079cc48/caddy-realtime/presence"
)

func channelCommand() *cobra.Command {
	list := adminCommand("list <app>", "Lists the channels that have subscribers", 1, counting(listChannels))
	list.Flags().String("prefix", "", "Only channels whose names begin with this")
	members := adminCommand("members <app> <channel>", "Lists the users in a channel with presence, in the order in which they have joined", 2, counting(listMembers))
	return group("channel", "Lists and shows channels and their members",
		list, members,
		adminCommand("show <app> <channel>", "Shows a channel's subscribers", 2, counting(showChannel)),
	)
}

func listChannels(c *adminClient, args []string) error {
	query := make(url.Values)
	if prefix := c.flags.String("prefix"); prefix != "" {
		query.Set("prefix", prefix)
	}
	channels := []manage.Channel{} // in JSON, an empty list, not null
	err := c.pages(adminPath("channels", args[0]), query, func(text []byte) error {
		var page struct {
			Channels []manage.Channel `json:"channels"`
		}
		err := c.decode(text, &page)
		channels = append(channels, page.Channels...)
		return err
	})
	if err != nil {
		return err
	}
	if c.raw {
		return c.printJSON(map[string]any{"channels": channels})
	}
	rows := [][]string{{"CHANNEL", "SUBSCRIBERS"}}
	for _, channel := range channels {
		rows = append(rows, []string{channel.Channel, strconv.Itoa(channel.Subscribers)})
	}
	return c.table(rows...)
}

func showChannel(c *adminClient, args []string) error {
	if err := message.CheckChannel(args[1]); err != nil {
		return err
	}
	var channel manage.Channel
	if ok, err := c.call(http.MethodGet, adminPath("channels", args[0], args[1]), nil, &channel); !ok {
		return err
	}
	rows := [][]string{{"channel", channel.Channel}, {"subscribers", strconv.Itoa(channel.Subscribers)}}
	if channel.Members != nil {
		rows = append(rows, []string{"members", strconv.Itoa(*channel.Members)})
	}
	return c.table(rows...)
}

func listMembers(c *adminClient, args []string) error {
	if err := message.CheckChannel(args[1]); err != nil {
		return err
	}
	members := []presence.Member{} // in JSON, an empty list, not null
	err := c.pages(adminPath("channels", args[0], args[1], "members"), nil, func(text []byte) error {
		var page struct {
			Members []presence.Member `json:"members"`
		}
		err := c.decode(text, &page)
		members = append(members, page.Members...)
		return err
	})
	if err != nil {
		return err
	}
	if c.raw {
		return c.printJSON(map[string]any{"channel": args[1], "count": len(members), "members": members})
	}
	rows := [][]string{{"USER", "SOCKETS", "INFO"}}
	for _, m := range members {
		rows = append(rows, []string{m.ID, strconv.Itoa(m.Sockets), jsonOrDash(m.Info)})
	}
	return c.table(rows...)
}
