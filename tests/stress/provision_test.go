package stress

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A keyState is what was answered of a key.
type keyState struct {
	kind              string
	revoked, expiring bool
}

// A state is what an app is to look like.
type state struct {
	gone     bool
	name     string
	channels int // max_channels, changed together with the name
	enabled  bool
	keys     map[string]keyState
	added    string // the kind of one more key, whose id was not answered
}

func (s state) clone() state {
	s.keys = maps.Clone(s.keys)
	return s
}

// appView is an app as the admin API shows it.
type appView struct {
	ID       string
	Name     string
	Enabled  bool
	Channels int `json:"max_channels"`
	Keys     []struct {
		ID, Kind         string
		Expires, Revoked *time.Time
	}
}

// differs says in what an app is not as it is to be; v is nil if it is gone.
func (s state) differs(v *appView) error {
	if s.gone != (v == nil) {
		return fmt.Errorf("gone is to be %v", s.gone)
	}
	if s.gone {
		return nil
	}
	if v.Name != s.name || v.Channels != s.channels || v.Enabled != s.enabled {
		return fmt.Errorf("it is %q, %d channels, enabled %v", v.Name, v.Channels, v.Enabled)
	}
	want := maps.Clone(s.keys)
	for _, k := range v.Keys {
		is := keyState{k.Kind, k.Revoked != nil, k.Expires != nil}
		was, known := want[k.ID]
		delete(want, k.ID)
		if !known && is == (keyState{kind: s.added}) {
			s.added = ""
			continue
		}
		if is != was {
			return fmt.Errorf("key %s is %+v, and was %+v", k.ID, is, was)
		}
	}
	if len(want) > 0 || s.added != "" {
		return fmt.Errorf("it lacks keys %v %s", want, s.added)
	}
	return nil
}

// A tenant is an app as its one operator knows it.
type tenant struct {
	id      string
	secrets map[string]string // by the key's id
	now     state
	maybe   *state // what it is if a change was made that was not answered
}

// A provisioner is an operator who works as fast as answers come. Each has apps
// of its own, so it knows what each is to look like.
type provisioner struct {
	g        *gateway
	name     string
	rng      *rand.Rand
	client   *http.Client
	tenants  []*tenant
	creating string // the name of an app whose making was not answered
	made     int
	answered *atomic.Int64
}

// errDown is for a request that was not answered.
var errDown = errors.New("not answered")

// call makes a request of the admin API. What is not the wanted answer fails.
func (p *provisioner) call(method, path string, body any, want int, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequest(method, "http://"+p.g.Admin+"/realtime/"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := p.client.Do(request)
	if err != nil {
		return fmt.Errorf("%w: %w", errDown, err)
	}
	defer answer.Body.Close()
	text, err = io.ReadAll(answer.Body)
	if err != nil {
		return fmt.Errorf("%w: %w", errDown, err)
	}
	if answer.StatusCode != want {
		return fmt.Errorf("%s %s: %s %s", method, path, answer.Status, text)
	}
	p.answered.Add(1)
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

// work changes apps until stop is closed or nobody answers.
func (p *provisioner) work(stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		if err := p.change(); errors.Is(err, errDown) {
			return nil
		} else if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
}

// change makes one change at random, and uses what it has changed.
func (p *provisioner) change() error {
	if len(p.tenants) < 3 || p.rng.IntN(6) == 0 {
		return p.create()
	}
	t := p.tenants[p.rng.IntN(len(p.tenants))]
	if t.now.gone {
		return p.use(t)
	}
	var err error
	switch n := p.rng.IntN(10); {
	case len(t.now.keys) > 20 || n == 0:
		err = p.try(t, func(s *state) { s.gone = true }, func() error {
			return p.call(http.MethodDelete, "apps/"+t.id, nil, http.StatusNoContent, nil)
		})
	case n < 4:
		err = p.addKey(t)
	case n < 6:
		err = p.rotate(t)
	case n < 8:
		err = p.revoke(t)
	default:
		err = p.patch(t)
	}
	return errors.Join(err, p.use(t))
}

// try makes a change whose outcome is known once it was answered.
func (p *provisioner) try(t *tenant, change func(*state), request func() error) error {
	after := t.now.clone()
	change(&after)
	t.maybe = &after
	if err := request(); err != nil {
		return err
	}
	t.now, t.maybe = after, nil
	return nil
}

func (p *provisioner) create() error {
	p.made++
	p.creating = fmt.Sprintf("%s app %d", p.name, p.made)
	var made struct {
		appView
		Publish   string `json:"publish_key"`
		Subscribe string `json:"subscribe_key"`
	}
	if err := p.call(http.MethodPost, "apps", map[string]string{"name": p.creating}, http.StatusCreated, &made); err != nil {
		return err
	}
	t := adopt(&made.appView)
	for id, key := range t.now.keys {
		t.secrets[id] = map[string]string{"publish": made.Publish, "subscribe": made.Subscribe}[key.kind]
	}
	p.creating = ""
	p.tenants = append(p.tenants, t)
	return p.use(t)
}

// adopt takes an app as it is.
func adopt(v *appView) *tenant {
	t := &tenant{id: v.ID, secrets: map[string]string{}}
	t.now = state{name: v.Name, channels: v.Channels, enabled: v.Enabled, keys: map[string]keyState{}}
	for _, k := range v.Keys {
		t.now.keys[k.ID] = keyState{k.Kind, k.Revoked != nil, k.Expires != nil}
	}
	return t
}

// issued is a key as it is shown once.
type issued struct{ ID, Kind, Key string }

// learn notes a key that was added.
func (t *tenant) learn(k issued) {
	t.now.added = ""
	t.now.keys[k.ID] = keyState{kind: k.Kind}
	t.secrets[k.ID] = k.Key
}

func (p *provisioner) addKey(t *tenant) error {
	kind := []string{"publish", "subscribe"}[p.rng.IntN(2)]
	var k issued
	err := p.try(t, func(s *state) { s.added = kind }, func() error {
		return p.call(http.MethodPost, "keys/"+t.id, map[string]string{"kind": kind}, http.StatusCreated, &k)
	})
	if err == nil {
		t.learn(k)
	}
	return err
}

// good picks a key that may be rotated or revoked, "" if there is none.
func (t *tenant) good() string {
	for id, k := range t.now.keys { // in no order
		if !k.revoked && !k.expiring {
			return id
		}
	}
	return ""
}

func (p *provisioner) rotate(t *tenant) error {
	id := t.good()
	if id == "" {
		return p.addKey(t)
	}
	// Of the two, one stays good and one ends at once.
	overlap := []string{"24h", "0s"}[p.rng.IntN(2)]
	var k issued
	err := p.try(t, func(s *state) {
		old := s.keys[id]
		s.added, old.expiring = old.kind, true
		s.keys[id] = old
	}, func() error {
		return p.call(http.MethodPost, "keys/"+t.id+"/"+id+"/rotate", map[string]string{"overlap": overlap}, http.StatusCreated, &k)
	})
	if err == nil {
		t.learn(k)
		if overlap == "0s" && t.secrets[id] != "" {
			t.secrets[id] += " expired"
		}
	}
	return err
}

func (p *provisioner) revoke(t *tenant) error {
	id := t.good()
	if id == "" {
		return p.addKey(t)
	}
	return p.try(t, func(s *state) {
		k := s.keys[id]
		k.revoked = true
		s.keys[id] = k
	}, func() error {
		return p.call(http.MethodDelete, "keys/"+t.id+"/"+id, nil, http.StatusNoContent, nil)
	})
}

func (p *provisioner) patch(t *tenant) error {
	p.made++
	name, channels, enabled := fmt.Sprintf("%s name %d", p.name, p.made), 1+p.rng.IntN(1000), p.rng.IntN(3) > 0
	return p.try(t, func(s *state) { s.name, s.channels, s.enabled = name, channels, enabled }, func() error {
		body := map[string]any{"name": name, "max_channels": channels, "enabled": enabled}
		return p.call(http.MethodPatch, "apps/"+t.id, body, http.StatusOK, nil)
	})
}

// use tries a key of the app, which lets in or does not as was answered.
func (p *provisioner) use(t *tenant) error {
	for id := range t.secrets { // in no order
		return p.useKey(t, id)
	}
	return nil
}

// expected is the code that a use of the key gets, "" if it lets in.
func (t *tenant) expected(id string) string {
	k := t.now.keys[id]
	switch {
	case t.now.gone:
		return "unknown_app"
	case k.revoked:
		return "key_revoked"
	case strings.HasSuffix(t.secrets[id], " expired"):
		return "key_expired"
	case !t.now.enabled:
		return "app_disabled"
	}
	return ""
}

func (p *provisioner) useKey(t *tenant, id string) error {
	if t.maybe != nil {
		return nil // nobody knows
	}
	secret, _, _ := strings.Cut(t.secrets[id], " ")
	use := p.g.connectCode
	if t.now.keys[id].kind == "publish" {
		use = p.g.publishCode
	}
	got, err := use(t.id, secret)
	if err != nil {
		return fmt.Errorf("%w: %w", errDown, err)
	}
	if want := t.expected(id); got != want {
		return fmt.Errorf("key %s of app %s gets %q, want %q", id, t.id, got, want)
	}
	return nil
}

// check compares all that this operator knows with what is there, and knows
// then what became of the changes that were not answered.
func (p *provisioner) check(there map[string]*appView) error {
	for _, t := range p.tenants {
		v := there[t.id]
		delete(there, t.id)
		err := t.now.differs(v)
		if err != nil && t.maybe != nil && t.maybe.differs(v) == nil {
			secrets := t.secrets
			gone := t.maybe.gone
			was := t.now
			if gone {
				t.now.gone = true
			} else {
				*t = *adopt(v)
				t.secrets = secrets
			}
			// The overlap of a rotation that was not answered is not known.
			for id, k := range t.now.keys {
				if k.expiring && !was.keys[id].expiring {
					delete(t.secrets, id)
				}
			}
			err = nil
		}
		t.maybe = nil
		if err != nil {
			return fmt.Errorf("app %s of %s: %w", t.id, p.name, err)
		}
	}
	for id, v := range there {
		if p.creating != "" && v.Name == p.creating {
			delete(there, id)
			t := adopt(v)
			kinds := map[string]int{}
			for _, k := range t.now.keys {
				kinds[k.kind]++
			}
			if !v.Enabled || kinds["publish"] != 1 || kinds["subscribe"] != 1 || len(v.Keys) != 2 {
				return fmt.Errorf("app %s is not whole: %+v", id, v)
			}
			p.tenants = append(p.tenants, t)
		}
	}
	p.creating = ""
	return nil
}

// everyKey uses all keys of some of the apps.
func (p *provisioner) everyKey(most int) error {
	var wg sync.WaitGroup
	errs := make(chan error, most)
	p.rng.Shuffle(len(p.tenants), func(i, j int) { p.tenants[i], p.tenants[j] = p.tenants[j], p.tenants[i] })
	for _, t := range p.tenants[:min(most, len(p.tenants))] {
		wg.Go(func() {
			for id := range t.secrets {
				if err := p.useKey(t, id); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	var all error
	for err := range errs {
		all = errors.Join(all, err)
	}
	return all
}
