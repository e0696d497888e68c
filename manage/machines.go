package manage

import (
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
