package realtime

import (
	"cmp"
	"fmt"
	"sync"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// renew has the keystore and the broker connect as a configuration says: both at once,
// because each waits for a server that hangs.
func (rt *runtime) renew(a *App) error {
	var work sync.WaitGroup
	var keys, messages error
	if opener, ok := a.keystore.(keystore.Renewer); ok {
		work.Go(func() {
			if err := opener.Renew(rt.store); err != nil {
				keys = fmt.Errorf("keystore: %w", err)
			}
		})
	}
	if opener, ok := a.broker.(hub.Renewer); ok {
		work.Go(func() {
			if err := opener.Renew(rt.broker); err != nil {
				messages = fmt.Errorf("broker: %w", err)
			}
		})
	}
	work.Wait()
	return cmp.Or(keys, messages) // with one server, both say the same
}
