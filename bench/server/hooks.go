package server

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
)

// answers is a receiver of webhooks that is up.
func answers(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.WriteHeader(http.StatusNoContent)
}

// hangs is one that never answers.
func hangs(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// hooked is ours with a webhook for all events.
func hooked(receive http.HandlerFunc) runner {
	return func(dir, addr string, paths Paths) (*Process, error) {
		paths.Settings += "\n\t\twebhook_targets any"
		p, err := caddy("realtime", "", false)(dir, addr, paths)
		if err != nil {
			return nil, err
		}
		receiver := httptest.NewServer(receive)
		p.receiver = receiver.Close
		_, app, _ := strings.Cut(p.Target.Headers, "X-App-Id: ")
		app, _, _ = strings.Cut(app, "\r\n")
		if err := addHook(p.Admin, app, receiver.URL); err != nil {
			p.Stop()
			return nil, err
		}
		return p, nil
	}
}

func addHook(admin, app, url string) error {
	body, err := json.Marshal(map[string]any{"url": url, "events": []string{
		"channel.occupied", "channel.vacated", "member.joined", "member.left",
		"connection.opened", "connection.closed", "client_event", "rejected",
	}})
	if err != nil {
		return err
	}
	answer, err := http.Post("http://"+admin+"/realtime/webhooks/"+app, "application/json", strings.NewReader(string(body))) //nolint:gosec // an address of ours
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusCreated {
		return fmt.Errorf("adding a webhook: %s", answer.Status)
	}
	return nil
}
