package realtime

import (
	"context"
	"testing"

	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// otherProcess is a store from which another process deletes apps.
type otherProcess struct {
	keystore.Store
	changed func(id string)
	asked   chan string // ids that were looked up
}

func (o *otherProcess) Watch(changed func(id string)) { o.changed = changed }

// Get finds no app: all are deleted.
func (o *otherProcess) Get(_ context.Context, id string) (*keystore.App, error) {
	o.asked <- id
	return nil, nil
}

func (o *otherProcess) Identity() string { return "other process" }

func (o *otherProcess) Open(*zap.Logger) (keystore.Store, error) { return o, nil }

// delete returns once the gateway has seen the deletion.
func (o *otherProcess) delete(id string) {
	for _, id := range []string{id, "another"} { // looked up in order: the second lookup follows the first change
		o.changed(id)
		for asked := ""; asked != id; {
			asked = <-o.asked
		}
	}
}

// brokerOpening is a broker that takes time to open.
type brokerOpening struct {
	MemoryBroker
	meanwhile func()
}

func (b *brokerOpening) Open(logger *zap.Logger) (hub.Broker, error) {
	b.meanwhile()
	return b.MemoryBroker.Open(logger)
}

// This used to cause a panic that ended the process.
func TestAppMayBeDeletedElsewhereWhileTheGatewayOpens(t *testing.T) {
	dir := t.TempDir()
	store, err := keystore.OpenBadger(dir, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	registry, err := keystore.Open(store)
	if err != nil {
		t.Fatal(err)
	}
	made, err := registry.Create("shop")
	if err != nil {
		t.Fatal(err)
	}
	if err := registry.Close(); err != nil {
		t.Fatal(err)
	}
	if store, err = keystore.OpenBadger(dir, zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	other := &otherProcess{Store: store, asked: make(chan string)}
	app := &App{logger: zap.NewNop()}
	app.setDefaults()
	app.keystore, app.broker = other, &brokerOpening{meanwhile: func() { other.delete(made.App.ID) }}
	rt, err := openRuntime(app)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := rt.registry.App(made.App.ID); ok {
		t.Error("the app is still known")
	}
	if err := rt.Destruct(); err != nil {
		t.Error(err)
	}
}
