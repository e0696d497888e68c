package access

import (
	"net/netip"
	"runtime"
	"testing"
)

func TestManyAddressesLeaveNoMemoryBehind(t *testing.T) {
	const many = 120_000
	var e Admission
	address := func(i int) string {
		return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String()
	}
	come := func(ip string) {
		prefix, known := ClientPrefix(ip)
		if _, refusal := e.count(prefix, known, Limits{}); refusal != nil {
			t.Fatal(refusal)
		}
	}
	for range 10 {
		come("192.0.2.1") // and stays connected
	}
	before := heapInUse()
	for i := range many {
		come(address(i))
	}
	for i := range many {
		e.Leave(address(i), false)
	}
	if left := heapInUse() - before; left > 16*many { // the map it replaced kept 114 for each
		t.Errorf("%d bytes are left of %d addresses", left, many)
	}
	if here := e.from.Get(netip.MustParsePrefix("192.0.2.1/32")); here.within != 10 || e.total != 10 || e.from.Len() != 1 {
		t.Errorf("%d clients of %d addresses are counted, %d of the one that stayed", e.total, e.from.Len(), here.within)
	}
}

// heapInUse returns the bytes in use after a collection.
func heapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // pools keep objects for one more collection
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
