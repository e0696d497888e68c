package hub_test

import (
	"errors"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/hub"
)

// stillborn is a broker that fails to start.
type stillborn struct {
	hub.Broker
	closed int
}

var errStart = errors.New("out of reach")

func (*stillborn) Start(hub.Handler) error { return errStart }

func (b *stillborn) Close() error {
	b.closed++
	return nil
}

func TestBrokerThatCannotBeStartedIsClosed(t *testing.T) {
	broker := new(stillborn)
	if _, err := hub.New(broker, hub.Codec[string]{}); !errors.Is(err, errStart) {
		t.Errorf("got %v", err)
	}
	if broker.closed != 1 {
		t.Errorf("it was closed %d times", broker.closed)
	}
}
