package manage

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/respond"
)

// healthTimeout bounds one check: a slower one fails.
const healthTimeout = 5 * time.Second

func (a *API) healthRoutes() []caddy.AdminRoute {
	ready := a.route(map[string]adminFunc{http.MethodGet: a.ready}, "GET, HEAD")
	return []caddy.AdminRoute{
		{Pattern: "/realtime/health", Handler: ready},
		{Pattern: "/realtime/health/ready", Handler: ready},
		{Pattern: "/realtime/health/live", Handler: readOnly(func(w http.ResponseWriter, _ *http.Request) {
			respond.JSON(w, http.StatusOK, healthView{Status: "live"})
		})},
	}
}

// healthView is the answer of a healthy server.
type healthView struct {
	Status string      `json:"status"` // ready or live
	Checks []checkView `json:"checks,omitempty"`
}

// checkView is a successful check and its duration.
type checkView struct {
	Name         string  `json:"name"`
	Milliseconds float64 `json:"milliseconds"`
}

// ready tests what clients need: it reads the keystore and publishes to a
// subscriber. It answers 503 while the server drains, so that load balancers send
// no new clients here.
func (a *API) ready(g *Gateway, w http.ResponseWriter, r *http.Request) error {
	if g.Draining() {
		return apierr.Unavailable("The server is shutting down.", time.Second)
	}
	well := healthView{Status: "ready"}
	for _, check := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"keystore", g.Registry.Check},
		{"delivery", g.Channels.Check},
	} {
		took, err := timed(r, &g.hanging, check.run)
		if err != nil {
			a.Logger.Error("health check failed", zap.String("check", check.name), zap.Duration("took", took), zap.Error(err))
			return apierr.Unavailable(fmt.Sprintf("The check of %s failed: %s. The log has it, too.", check.name, err), time.Second)
		}
		well.Checks = append(well.Checks, checkView{check.name, float64(took.Microseconds()) / 1000})
	}
	respond.JSON(w, http.StatusOK, well)
	return nil
}

// maxHanging bounds the abandoned checks: at the limit, no new check starts.
const maxHanging = 4

// timed runs a check. It abandons a hanging check, which cannot be stopped, and
// reports it as failed. hanging counts the abandoned checks.
func timed(r *http.Request, hanging *atomic.Int32, check func(context.Context) error) (time.Duration, error) {
	begin := time.Now()
	result := make(chan error, 1)
	if hanging.Load() >= maxHanging {
		return 0, fmt.Errorf("%d earlier checks have not ended", hanging.Load())
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() { result <- check(ctx) }()
	leave := func() {
		hanging.Add(1)
		go func() {
			<-result //nolint:errcheck // too late to matter
			hanging.Add(-1)
		}()
	}
	select {
	case err := <-result:
		return time.Since(begin), err
	case <-time.After(healthTimeout):
		leave()
		return time.Since(begin), fmt.Errorf("it took more than %s", healthTimeout)
	case <-r.Context().Done():
		leave()
		return time.Since(begin), r.Context().Err()
	}
}
