package socketio

import (
	"net/netip"
	"sync"
	"testing"
)

func TestAnAddressHasAQuarterOfThePlaces(t *testing.T) {
	one, other := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::/64")
	for _, tc := range []struct{ limit, share int }{{1, 1}, {2, 1}, {4, 1}, {5, 2}, {50, 13}, {5000, 1250}} {
		var p places
		for n := range tc.share {
			if taken, _ := p.take(one, tc.limit); taken == nil || taken.nth != n+1 {
				t.Fatalf("of %d: place %d of the share: %+v", tc.limit, n+1, taken)
			}
		}
		if taken, crowded := p.take(one, tc.limit); taken != nil || !crowded && tc.limit > tc.share {
			t.Errorf("of %d: a place over the share: %+v; crowded: %t", tc.limit, taken, crowded)
		}
		for n := tc.share; n < tc.limit; n++ {
			// Clients without an address have no share.
			if taken, _ := p.take(netip.Prefix{}, tc.limit); taken == nil {
				t.Fatalf("of %d: no place for another after %d", tc.limit, n)
			}
		}
		if taken, crowded := p.take(other, tc.limit); taken != nil || crowded {
			t.Errorf("of %d: a place over all: %+v; crowded: %t", tc.limit, taken, crowded)
		}
	}
}

func TestWithoutABoundThereIsNoShare(t *testing.T) {
	var p places
	for range 10_000 {
		if taken, _ := p.take(netip.MustParsePrefix("192.0.2.1/32"), 0); taken == nil {
			t.Fatal("refused")
		}
	}
}

func TestAddressesAreForgottenWithTheirLastPlace(t *testing.T) {
	var p places
	var clients sync.WaitGroup
	for i := range byte(200) {
		clients.Go(func() {
			address := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, i}), 32)
			for n := range 50 {
				limit := []int{0, 100, 1000}[n%3] // a reload can change it
				first, _ := p.take(address, limit)
				second, _ := p.take(address, limit)
				for _, taken := range []*place{first, second} {
					if taken != nil {
						p.free(taken)
					}
				}
			}
		})
	}
	clients.Wait()
	if p.count() != 0 || len(p.from) != 0 {
		t.Errorf("%d places are taken, %d addresses remembered", p.count(), len(p.from))
	}
}
