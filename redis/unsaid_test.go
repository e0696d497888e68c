package redis

import (
	"fmt"
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/hub"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestLossInManyChannelsIsOneLine(t *testing.T) {
	t.Parallel()
	const channels = 1000
	core, logs := observer.New(zap.ErrorLevel)
	m := &machine{t: t}
	a := &app{id: "app", broker: &broker{log: zap.New(core), handler: m}}
	for i := range channels {
		a.tellLost(fmt.Sprint(i), hub.Position{Epoch: hub.NewEpoch("app"), Offset: 1})
	}
	if n := a.broker.measures.lost.Load(); len(m.lost) != channels || n != channels || logs.Len() != 1 {
		t.Errorf("%d told, %d counted, %d lines", len(m.lost), n, logs.Len())
	}
}
