package hub

import (
	"strconv"
	"testing"
)

func TestDeletedAppsLeaveNothingAndIDsNeverComeAgain(t *testing.T) {
	b := NewMemory().(*memory)
	if _, err := New(b, func(*Message) string { return "" }); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for range 3 {
		for i := range 100 {
			m := Message{App: "app_" + strconv.Itoa(i), Channel: "a"}
			if _, err := b.Publish(t.Context(), &m); err != nil {
				t.Fatal(err)
			}
			if seen[m.ID] {
				t.Fatalf("the id %s comes again", m.ID)
			}
			seen[m.ID] = true
		}
		for i := range 100 {
			b.Forget("app_" + strconv.Itoa(i))
		}
		if len(b.apps) != 0 {
			t.Fatalf("%d sequences are left", len(b.apps))
		}
	}
}
