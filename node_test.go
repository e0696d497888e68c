package realtime

import (
	"strings"
	"testing"
)

func TestNodeAddressIsAURLOfThisMachine(t *testing.T) {
	for text, listens := range map[string]string{
		"http://10.0.1.7:9001":                         "10.0.1.7:9001",
		"http://10.0.1.7:9001/":                        "10.0.1.7:9001",
		"http://gateway-2.internal:9001":               "gateway-2.internal:9001",
		"http://[fd00::7]:9001":                        "[fd00::7]:9001",
		"http://10.0.1.7:9001 :9002":                   ":9002",
		"http://gateway-2.internal:80 127.0.0.1:19001": "127.0.0.1:19001",
	} {
		address, listen, err := splitNodeAddress(text)
		if err != nil || listen != listens || !strings.HasPrefix(text, address) {
			t.Errorf("%s: %q, %q, %v", text, address, listen, err)
		}
	}
	for text, says := range map[string]string{
		"10.0.1.7:9001":                   "write http://, a host and a port",
		"https://10.0.1.7:9001":           "over http, in a private network",
		"ftp://10.0.1.7:9001":             "has the scheme ftp",
		"http://10.0.1.7":                 "lacks a port",
		"http://10.0.1.7:0":               "lacks a port",
		"http://:9001":                    "is not a URL",
		"http://0.0.0.0:9001":             "to listen on all addresses, write that after the URL: node_address http://10.0.1.7:9001 :9001",
		"http://[::]:9001":                "is an address of no machine",
		"http://u:p@10.0.1.7:9001":        "has a user",
		"http://10.0.1.7:9001/x":          "has a path or a query",
		"http://10.0.1.7:9001?":           "has a path or a query",
		"http://10.0.1.7:9001 9001":       "cannot listen on",
		"http://10.0.1.7:9001 udp/:9001":  "cannot listen on",
		"http://10.0.1.7:9001 :9001-9003": "cannot listen on",
		"http://10.0.1.7:9001 :9001 :1":   "has an extra value",
	} {
		if address, listen, err := splitNodeAddress(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %q, %q, %v, want %q", text, address, listen, err, says)
		}
	}
}

func TestNodeAddressNeedsABrokerOfSeveralMachines(t *testing.T) {
	err := new(nodes).listen(t.Context(), "http://127.0.0.1:9001")
	if err == nil || !strings.Contains(err.Error(), "add redis <url>") {
		t.Error(err)
	}
}
