package hub

import "testing"

func TestAnnouncementLeavesNoRecord(t *testing.T) {
	w := &world{t: t}
	w.open()
	defer func() { _ = w.hub.Close() }()
	calls := 0
	w.hub.Announce("app", "a", "", func() (string, bool) { calls++; return "x", true })
	if calls != 1 || w.hub.find(name{"app", "a"}) != nil {
		t.Errorf("change was called %d times; a record: %t", calls, w.hub.find(name{"app", "a"}) != nil)
	}
}
