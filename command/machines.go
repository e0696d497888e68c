package command

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-c079cc48/caddy-realtime/manage"
)

func machinesCommand() *cobra.Command {
	cmd := adminCommand("machines", "Lists the machines of the gateway, and how many connections each has", 0, listMachines)
	cmd.Long = `Lists the machines that share a broker, and how many connections each has. One that
was killed is listed for up to 15 seconds; it has no number of connections.`
	return cmd
}

func listMachines(c *adminClient, _ []string) error {
	var answer struct {
		Machines []manage.Machine `json:"machines"`
	}
	if ok, err := c.call(http.MethodGet, "/realtime/machines", nil, &answer); !ok {
		return err
	}
	rows := [][]string{{"MACHINE", "CONNECTIONS", "STARTED", "VERSION", "ADDRESS"}}
	for _, m := range answer.Machines {
		connections := "-"
		if m.Connections != nil {
			connections = strconv.Itoa(*m.Connections)
		}
		rows = append(rows, []string{m.ID, connections, m.Started.Format(time.DateTime), orDash(textOf(m.Version)), orDash(textOf(m.Address))})
	}
	return c.table(rows...)
}

// counting wraps a command that prints numbers of all machines: at its end, it notes which
// machines these lack.
func counting(run func(*adminClient, []string) error) func(*adminClient, []string) error {
	return func(c *adminClient, args []string) error {
		if err := run(c, args); err != nil {
			return err
		}
		var answer struct {
			Machines []manage.Machine `json:"machines"`
		}
		text, err := c.ask(http.MethodGet, "/realtime/machines", nil)
		if err != nil || json.Unmarshal(text, &answer) != nil {
			return nil //nolint:nilerr // an earlier version does not know its machines
		}
		if lacks := manage.Silence(answer.Machines); lacks != "" {
			c.note("%s", lacks)
		}
		return nil
	}
}

// textOf returns a text that can be null.
func textOf(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
