package realtime

import (
	"encoding/json"
	"fmt"
	"testing"
)

func TestPanicWhileASocketConnectsLeavesNoneCounted(t *testing.T) {
	shop := newShop(t)
	rt := &runtime{registry: shop.registry} // without statistics, which causes the panic
	s := &socket{runtime: rt, visitor: new(visitor)}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("it did not panic; this test is of nothing")
			}
		}()
		_ = s.Connect(json.RawMessage(fmt.Sprintf(`{"appId":%q,"subscribeKey":%q}`, shop.app, shop.subscribeKey)))
	}()
	if n := rt.sockets.Count(shop.app); n != 0 {
		t.Errorf("%d sockets are counted", n)
	}
}
