package site

import "testing"

func TestListenersOverlapWhereTheyMayTakeTheSameConnections(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{":80", ":80", true},
		{":80", ":81", false},
		{":80-90", ":85", true},
		{"127.0.0.1:80", ":80", true},
		{"127.0.0.1:80", "0.0.0.0:80", true},
		{"127.0.0.1:80", "127.0.0.2:80", false},
		{"localhost:80", "127.0.0.1:80", true},
		{"[::1]:80", "127.0.0.1:80", false},
		{"unix//run/a.sock", "unix//run/a.sock|0220", true},
		{"unix//run/a.sock", "unix//run/b.sock", false},
		{"unix//run/a.sock", ":80", false},
	} {
		if Overlap(c.a, c.b) != c.want || Overlap(c.b, c.a) != c.want {
			t.Errorf("%s and %s: want %t", c.a, c.b, c.want)
		}
	}
}
