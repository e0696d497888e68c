package main

import "testing"

func TestServersAreComparedWithinARound(t *testing.T) {
	r := &results{}
	for _, m := range []struct {
		round int
		peer  string
		p50   float64
	}{{0, "ours", 2}, {0, "it", 3}, {1, "ours", 4}, {1, "it", 10}, {2, "it", 7}} {
		r.add(record{m.round, "work", m.peer, values{"p50": m.p50}})
	}
	c := comparison{measure: "p50", base: "ours", of: quotient}
	if got := r.compare("work", "it", c); len(got) != 2 || got[0] != 1.5 || got[1] != 2.5 {
		t.Errorf("%v", got)
	}
}
