package engineio_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestIDsOfSessionsBeginWithTheServersPrefix(t *testing.T) {
	cfg := config()
	cfg.IDPrefix = "machine1"
	s := serve(t, cfg, app{})
	response, err := http.Get(s.http.URL + "/?EIO=4&transport=polling")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(body), `"sid":"`)
	sid, _, _ := strings.Cut(after, `"`)
	if rest, ok := strings.CutPrefix(sid, "machine1"); !ok || len(rest) != 20 {
		t.Errorf("the ID is %q", sid)
	}
	s.peer(sid)
}
