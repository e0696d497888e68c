package realtime

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/cluster"
	"github.com/seed-c079cc48/caddy-realtime/engineio"
	"github.com/seed-c079cc48/caddy-realtime/internal/forward"
)

const (
	nodeExample = "http://10.0.1.7:9001"

	// nodeCloseTimeout bounds how long requests of other machines can take to end
	// once their server is closed.
	nodeCloseTimeout = 5 * time.Second

	// nodeKeepTime is how long an address is served after a reload has changed it:
	// until then, other machines may forward to it because they have not read the new one.
	nodeKeepTime = 5 * time.Second
)

// nodeAddressSetting is a URL and, optionally, the address to listen on.
func nodeAddressSetting(name string) setting {
	return setting{
		name: name, rate: true,
		set: func(s *Settings, args []string) error {
			if len(args) == 0 || args[0] == "" {
				return errMissingArg(name, nodeExample)
			}
			s.NodeAddress = strings.Join(args, " ")
			return nil
		},
		check: func(s *Settings) error {
			_, _, err := splitNodeAddress(s.NodeAddress)
			return err
		},
	}
}

// splitNodeAddress returns the URL for the other machines, and the address to listen
// on. Both are "" if there is none.
func splitNodeAddress(text string) (address, listen string, err error) {
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return "", "", nil
	}
	if len(fields) > 2 {
		return "", "", errExtraArg("node_address", fields[2], nodeExample+" :9001")
	}
	u, err := parseNodeURL(fields[0])
	if err != nil {
		return "", "", err
	}
	listen = u.Host
	if len(fields) == 2 {
		listen = fields[1]
	}
	parsed, err := caddy.ParseNetworkAddress(listen)
	if err != nil || parsed.Network != "tcp" || parsed.PortRangeSize() != 1 || parsed.StartPort == 0 {
		return "", "", fmt.Errorf("node_address cannot listen on %q; write one host and port, or a port alone, for example: node_address %s :9001", listen, nodeExample)
	}
	return u.String(), listen, nil
}

// parseNodeURL parses the URL at which other machines reach one.
func parseNodeURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	wrong := func(what string) error {
		return fmt.Errorf("node_address %s; write http://, a host and a port that the other machines reach, for example: node_address %s", what, nodeExample)
	}
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "":
		return nil, wrong("is not a URL")
	case u.Scheme == "https":
		return nil, wrong("is an https URL, but machines reach each other over http, in a private network")
	case u.Scheme != "http":
		return nil, wrong("has the scheme " + u.Scheme)
	case u.User != nil:
		return nil, wrong("has a user; machines know each other by a secret in the broker")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, wrong("has a path or a query")
	case u.Port() == "" || u.Port() == "0":
		return nil, wrong("lacks a port")
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && ip.Unmap().IsUnspecified() {
		return nil, wrong("is an address of no machine; to listen on all addresses, write that after the URL: node_address " + nodeExample + " :" + u.Port())
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

// nodes has what machines of one broker need to forward requests to each other.
// Without such a broker, it forwards nothing.
type nodes struct {
	runtime   *runtime
	cluster   cluster.Cluster // nil without such a broker
	forwarder *forward.Forwarder
	receiver  *forward.Receiver

	mu      sync.Mutex             // guards servers
	servers map[string]*nodeServer // by the address that they listen on
	closing sync.WaitGroup         // the servers' goroutines
}

// A nodeServer serves other machines. It outlives the configuration that opened it: as
// long as the next ones have the same address, and for nodeKeepTime after that.
type nodeServer struct {
	http.Server
	leaving chan struct{} // nil while a configuration has the address; closed if one has it again
}

// stay must be called with nodes.mu held.
func (s *nodeServer) stay() {
	if s.leaving != nil {
		close(s.leaving)
		s.leaving = nil
	}
}

// use must be called before the first configuration starts.
func (n *nodes) use(shared cluster.Cluster) {
	rt := n.runtime
	n.cluster = shared
	n.servers = make(map[string]*nodeServer)
	n.forwarder = forward.New(shared.Secret, func() time.Duration { return time.Duration(rt.settings().WriteTimeout) }, rt.log)
	n.receiver = &forward.Receiver{
		Machine: rt.machineID, Secret: shared.Secret, Server: rt.eio,
		Refused: func(r *http.Request) {
			limit := rt.settings().AuthFailures
			host, _, _ := net.SplitHostPort(r.RemoteAddr)
			rt.failed.Hold(r.Context(), host, limit.Count, time.Duration(limit.Window))
		},
	}
}

// listen serves other machines at a configuration's node_address.
func (n *nodes) listen(ctx context.Context, setting string) error {
	_, address, err := splitNodeAddress(setting)
	if err != nil || address == "" {
		return err
	}
	if n.cluster == nil {
		return errors.New("node_address needs a broker that several machines share; add redis <url> to the global option realtime, or remove node_address")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.servers[address]; s != nil {
		s.stay()
		return nil
	}
	parsed, err := caddy.ParseNetworkAddress(address)
	if err != nil {
		return err
	}
	opened, err := parsed.Listen(ctx, 0, net.ListenConfig{})
	if err != nil {
		return fmt.Errorf("node_address: %w; if this machine listens on another address than the others use, write it after the URL: node_address %s :%d",
			err, nodeExample, parsed.StartPort)
	}
	listener, ok := opened.(net.Listener)
	if !ok {
		return fmt.Errorf("node_address cannot listen on %s, which is not TCP", address)
	}
	s := &nodeServer{Server: http.Server{
		Handler:           n.receiver,
		ReadHeaderTimeout: nodeCloseTimeout,
		IdleTimeout:       forward.IdleTimeout,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          zap.NewStdLog(zap.NewNop()), // of connections that anyone can open
	}}
	s.RegisterOnShutdown(n.receiver.EndPolls)
	n.servers[address] = s
	n.closing.Go(func() {
		if err := s.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			n.runtime.log.Error("the address for other machines is no longer served", zap.String("address", address), zap.Error(err))
		}
	})
	return nil
}

// keep closes the servers that no configuration has: after nodeKeepTime, or now if there
// is no configuration. Polls that they are about to answer are answered, and websockets
// stay open.
func (n *nodes) keep(configs []*App) {
	n.mu.Lock()
	defer n.mu.Unlock()
	needed := make(map[string]bool)
	for _, config := range configs {
		if _, address, err := splitNodeAddress(config.NodeAddress); err == nil {
			needed[address] = true
		}
	}
	for address, s := range n.servers {
		switch {
		case needed[address]:
			s.stay()
		case len(configs) == 0:
			s.stay() // its goroutine returns
			delete(n.servers, address)
			n.closing.Go(s.end)
		case s.leaving == nil:
			leaving := make(chan struct{})
			s.leaving = leaving
			n.closing.Go(func() { n.endLater(address, s, leaving) })
		}
	}
}

// endLater closes a server after nodeKeepTime, unless leaving is closed before.
func (n *nodes) endLater(address string, s *nodeServer, leaving <-chan struct{}) {
	timer := time.NewTimer(nodeKeepTime)
	defer timer.Stop()
	select {
	case <-leaving:
		return
	case <-timer.C:
	}
	n.mu.Lock()
	ends := s.leaving == leaving
	if ends {
		delete(n.servers, address)
	}
	n.mu.Unlock()
	if ends {
		s.end()
	}
}

func (s *nodeServer) end() {
	ctx, cancel := context.WithTimeout(context.Background(), nodeCloseTimeout)
	defer cancel()
	if s.Shutdown(ctx) != nil {
		_ = s.Close()
	}
}

// close closes all servers and waits for them.
func (n *nodes) close() {
	n.keep(nil)
	n.closing.Wait()
	if n.forwarder != nil {
		n.forwarder.Close()
	}
}

// stats returns the counters of forwarded requests.
func (n *nodes) stats() *forward.Stats {
	if n.forwarder == nil {
		return new(forward.Stats)
	}
	return n.forwarder.Stats()
}

// forward forwards a request for a session that another machine has. It returns false
// if there is no such machine, or none that can be reached.
func (n *nodes) forward(w http.ResponseWriter, r *http.Request, sid string, x engineio.Exchange) bool {
	if n.cluster == nil || len(sid) <= cluster.IDLength || sid[:cluster.IDLength] == n.runtime.machineID {
		return false
	}
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return false
	}
	for _, m := range n.cluster.Machines() {
		if m.ID != sid[:cluster.IDLength] || m.Address == "" {
			continue
		}
		address, err := parseNodeURL(m.Address)
		if err != nil {
			return false
		}
		n.forwarder.Forward(w, r, m.ID, address, x)
		return true
	}
	return false
}
