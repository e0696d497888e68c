package load

import (
	"fmt"
	"testing"
)

func TestClientTellsMissingAndRepeatedMessages(t *testing.T) {
	c := &Client{recovered: true}
	for _, sent := range []int64{1, 2, 2, 4, 3} {
		message := []byte(payload(100))
		putStamp(message[len(`{`+mark):], sent)
		c.take(fmt.Appendf(nil, `42["e",%s,"id-%d"]`, message, sent))
	}
	if c.position != "id-3" {
		t.Errorf("position %q", c.position)
	}
	if missing, repeated := Faults([]*Client{c}, 4); missing != 1 || repeated != 2 {
		t.Errorf("%d missing, %d repeated", missing, repeated)
	}
}
