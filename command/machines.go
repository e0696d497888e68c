package command

import (
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

// textOf returns a text that can be null.
func textOf(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
