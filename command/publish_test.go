package command

import (
	"crypto/rand"
	"strings"
	"testing"
)

func TestDataThatDoesNotEndIsNotReadForEver(t *testing.T) {
	if _, err := readAtMost(rand.Reader, 1<<10); err == nil || !strings.Contains(err.Error(), "1.0 KiB") {
		t.Errorf("got %v", err)
	}
	if data, err := readAtMost(strings.NewReader(`"as much"`), 9); err != nil || string(data) != `"as much"` {
		t.Errorf("got %s, %v", data, err)
	}
}
