package client

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// Polling is one Engine.IO client's long-polling.
type Polling struct {
	url    string
	client *http.Client
	own    bool // nobody else uses the HTTP client
	ctx    context.Context
	cancel context.CancelFunc
	ready  []string

	onReset func() // see Config
}

// DialPolling makes a poller; its first Read opens the session. It goes over
// the HTTP client, to https; with none over connections of its own, to http.
func DialPolling(addr, path string, over *http.Client) *Polling {
	p := &Polling{url: "https://" + addr + path, client: over, own: over == nil}
	if p.own {
		p.url = "http://" + addr + path
		p.client = &http.Client{Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			MaxIdleConnsPerHost: 2,
		}}
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// Read returns the next Engine.IO packet, polling for it if need be.
func (p *Polling) Read() (string, error) {
	for len(p.ready) == 0 {
		body, err := p.do(http.MethodGet, "")
		if err != nil {
			return "", err
		}
		p.ready = strings.Split(body, "\x1e")
	}
	packet := p.ready[0]
	p.ready = p.ready[1:]
	return packet, nil
}

// Write posts packets in one payload.
func (p *Polling) Write(packets ...string) error {
	_, err := p.do(http.MethodPost, strings.Join(packets, "\x1e"))
	for p.onReset != nil && IsReset(err) && p.ctx.Err() == nil {
		p.onReset()
		_, err = p.do(http.MethodPost, strings.Join(packets, "\x1e"))
	}
	return err
}

func (p *Polling) do(method, payload string) (string, error) {
	request, err := http.NewRequestWithContext(p.ctx, method, p.url, strings.NewReader(payload))
	if err != nil {
		return "", err
	}
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "text/plain;charset=UTF-8")
	}
	answer, err := p.client.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := readAll(answer)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", method, answer.Status, body)
	}
	return string(body), err
}

// readAll reads a body, at once into memory of its size where that is known.
func readAll(answer *http.Response) ([]byte, error) {
	if answer.ContentLength < 0 {
		return io.ReadAll(answer.Body)
	}
	body := make([]byte, answer.ContentLength)
	_, err := io.ReadFull(answer.Body, body)
	return body, err
}

// Close aborts what is under way, and says nothing.
func (p *Polling) Close() error {
	p.cancel()
	if p.own {
		p.client.CloseIdleConnections() // which over HTTP/2 are also those in use
	}
	return nil
}
