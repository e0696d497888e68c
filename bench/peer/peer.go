// Package peer has the servers that ours is compared with, each as short as a
// user would write it.
package peer

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// A handler makes a server, which shares a Redis if there is an address of one.
type handler func(redis string) (http.Handler, error)

// Run is "bench peer <name> <address> [<address of a Redis>]".
func Run(args []string) error {
	handlers := map[string]handler{
		"loop":               loop,
		"centrifuge":         centrifugeServer,
		"centrifuge+redis":   centrifugeOverRedis(),
		"centrifuge+history": centrifugeOverRedis(withHistory()),
		"zishang":            zishang,
	}
	args = append(args, "", "", "")
	newHandler, address, redis := handlers[args[0]], args[1], args[2]
	if newHandler == nil || address == "" {
		return fmt.Errorf("usage: %s peer <name> <address> [<address of a Redis>]", os.Args[0])
	}
	handler, err := newHandler(redis)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	return server.Serve(l)
}

// publication is the body of POST /publish.
type publication struct {
	Channel string          `json:"channel"`
	Event   string          `json:"event"`
	Data    json.RawMessage `json:"data"`
}

// publish is POST /publish for a server that sends with send.
func publish(send func(publication) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var p publication
		if err := json.NewDecoder(r.Body).Decode(&p); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := send(p); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"ok":true}`)) // the publisher may have gone
	}
}
