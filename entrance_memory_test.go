package realtime

import (
	"net/netip"
	goruntime "runtime"
	"testing"
)

func TestManyAddressesLeaveNoMemoryBehind(t *testing.T) {
	const many = 120_000
	var e entrance
	noLimit := 0
	settings := &Settings{MaxConnections: &noLimit}
	address := func(i int) string {
		return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String()
	}
	come := func(ip string) {
		customer, known := customerOf(ip)
		if _, refusal := e.count(customer, known, settings); refusal != nil {
			t.Fatal(refusal)
		}
	}
	for range 10 {
		come("192.0.2.1") // and stay
	}
	before := heapInUse()
	for i := range many {
		come(address(i))
	}
	for i := range many {
		e.leave(address(i), false)
	}
	if left := heapInUse() - before; left > 16*many { // the map that held them had 114 for each
		t.Errorf("%d bytes are left of %d addresses", left, many)
	}
	if here := e.from[netip.MustParsePrefix("192.0.2.1/32")]; here.in != 10 || e.open != 10 || len(e.from) != 1 {
		t.Errorf("%d clients of %d addresses are counted, %d of the one that stayed", e.open, len(e.from), here.in)
	}
}

// heapInUse is what is left after a collection, in bytes.
func heapInUse() int64 {
	var m goruntime.MemStats
	goruntime.GC()
	goruntime.GC() // pools keep things for one more
	goruntime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
