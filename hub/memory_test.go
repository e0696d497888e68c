package hub

import (
	"strconv"
	"testing"
)

func TestDeletedAppsLeaveNothingAndIDsNeverComeAgain(t *testing.T) {
	b := NewMemory().(*memory)
	h, err := New(b, Codec[string]{Encode: func(*Message) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = h.Close() }()
	seen := make(map[string]bool)
	for range 3 {
		for i := range 100 {
			receipt, err := h.Publish(t.Context(), Message{App: "app_" + strconv.Itoa(i), Channel: "a"})
			if err != nil {
				t.Fatal(err)
			}
			if seen[receipt.ID] {
				t.Fatalf("the id %s comes again", receipt.ID)
			}
			seen[receipt.ID] = true
		}
		for i := range 100 {
			h.Forget("app_" + strconv.Itoa(i))
		}
		if len(b.apps) != 0 {
			t.Fatalf("%d sequences are left", len(b.apps))
		}
	}
}
