package text_test

import (
	"testing"

	"github.com/seed-c079cc48/caddy-realtime/internal/text"
)

func TestJSONIsNotEscapedForHTML(t *testing.T) {
	if got, err := text.JSON(map[string]string{"a": "<b> & é"}); err != nil || string(got) != `{"a":"<b> & é"}` {
		t.Errorf("%s, %v", got, err)
	}
	if got, err := text.JSON(func() {}); err == nil {
		t.Errorf("a function is %s", got)
	}
}
