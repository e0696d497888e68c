package guests

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/hub"
)

// Slow is the module `realtime.brokers.slow`: a broker that takes its time, as one
// over a network does, and refuses what is of a channel named "refused".
type Slow struct {
	Delay caddy.Duration `json:"delay,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Slow) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "realtime.brokers.slow", New: func() caddy.Module { return new(Slow) }}
}

// UnmarshalCaddyfile sets up the module: slow <delay>.
func (s *Slow) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // slow
	var text string
	if !d.AllArgs(&text) {
		return d.ArgErr()
	}
	delay, err := caddy.ParseDuration(text)
	s.Delay = caddy.Duration(delay)
	return err
}

// Identity implements hub.Opener.
func (s *Slow) Identity() string { return "slow" }

// Open implements hub.Opener.
func (s *Slow) Open(logger *zap.Logger) (hub.Broker, error) {
	return &slow{
		log: logger, delay: time.Duration(s.Delay),
		last: make(map[string]hub.Position), interested: make(map[string]bool), queue: make(chan *hub.Message, 10_000),
	}, nil
}

type slow struct {
	log     *zap.Logger
	delay   time.Duration
	handler hub.Handler
	queue   chan *hub.Message
	work    sync.WaitGroup

	mu         sync.Mutex              // guards all below
	last       map[string]hub.Position // by app
	interested map[string]bool
}

func (s *slow) Start(h hub.Handler) error {
	s.handler = h
	s.work.Go(func() {
		for m := range s.queue {
			time.Sleep(s.delay)
			s.mu.Lock()
			interested := s.interested[m.App+" "+m.Channel]
			s.mu.Unlock()
			if interested {
				s.handler.Deliver(m).Flush()
			}
		}
	})
	return nil
}

var errRefused = errors.New("the broker is out of reach")

func (s *slow) Publish(_ context.Context, all []*hub.Message) error {
	for _, m := range all {
		if m.Channel == "refused" {
			return errRefused
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range all {
		at, ok := s.last[m.App]
		if !ok {
			at.Epoch = hub.NewEpoch(m.App)
		}
		at.Offset++
		s.last[m.App] = at
		m.Position, m.Subscribers = at, s.handler.Subscribers(m.App, m.Channel)
		kept := *m
		kept.Data = append([]byte(nil), m.Data...)
		s.queue <- &kept
	}
	return nil
}

func (s *slow) Interest(ctx context.Context, app, channel string, on bool) error {
	if channel == "refused" {
		return errRefused
	}
	select {
	case <-time.After(s.delay):
	case <-ctx.Done():
		return ctx.Err()
	}
	s.log.Info("interest", zap.String("channel", channel), zap.Bool("on", on))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.interested[app+" "+channel] = on
	return nil
}

// Sync does nothing: what was published is delivered whether somebody waits or not.
func (s *slow) Sync(context.Context, string) error { return nil }

func (s *slow) Forget(app string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.last, app)
}

func (s *slow) Close() error {
	close(s.queue)
	s.work.Wait()
	return nil
}

// Interface guards
var (
	_ hub.Opener            = (*Slow)(nil)
	_ hub.Interested        = (*slow)(nil)
	_ caddyfile.Unmarshaler = (*Slow)(nil)
)
