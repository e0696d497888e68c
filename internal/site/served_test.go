package site

import "testing"

func TestAMatchersWildcardIsNoHostOfASnippet(t *testing.T) {
	for host, want := range map[string]string{
		"example.com": "example.com", "Example.com": "Example.com", "*.example.com": "YOUR_SITE.example.com", "{http.vars.host}": "YOUR_SITE", "*": "YOUR_SITE", "a.*.b": "YOUR_SITE",
	} {
		if got := plainHost(host); got != want {
			t.Errorf("%s is %s", host, got)
		}
	}
}
