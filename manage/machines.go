package manage

import (
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/seed-c079cc48/caddy-realtime/internal/respond"
)

// A Machine is the admin API's view of a process that is part of the gateway.
type Machine struct {
	ID          string    `json:"id"`
	Address     *string   `json:"address"` // null: the other machines cannot reach it
	Version     *string   `json:"version"` // of the gateway; null: not known
	Started     time.Time `json:"started"`
	Connections *int      `json:"connections"` // of all apps; null: it has not answered
}

// Silence says what lists and numbers lack, or "" if all machines have answered.
func Silence(machines []Machine) string {
	silent := 0
	for _, m := range machines {
		if m.Connections == nil {
			silent++
		}
	}
	if silent == 0 {
		return ""
	}
	return fmt.Sprintf("Machines that do not answer: %d of %d. Lists and numbers lack what they have. "+
		"If that lasts for more than 15 seconds, /realtime/health on the admin endpoint says why.", silent, len(machines))
}

func (a *API) machineRoutes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/realtime/machines", Handler: a.route(map[string]adminFunc{http.MethodGet: a.listMachines}, "GET, HEAD")},
	}
}

// listMachines answers with all machines. There are not so many that they need pages.
func (a *API) listMachines(g *Gateway, w http.ResponseWriter, _ *http.Request) error {
	respond.JSON(w, http.StatusOK, struct {
		Machines []Machine `json:"machines"`
	}{append([]Machine{}, g.Machines()...)})
	return nil
}
