package redis

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/cluster"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/keystore"
	"github.com/seed-c079cc48/caddy-realtime/webhook"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// What machines of the first version with Redis write. This version must read it, and
// what it writes must be the same, or have another version.
const (
	goldenBody    = "\x03\x01e\x03sid\x64\x80ຄ\xbf\x03[1]"
	goldenMessage = "\x01epoch 7 0 1764300000000\n" + goldenBody
	goldenSession = `1{"App":"app","ID":"id","PID":"p","Arrived":"","User":"ann","Left":0,"Start":3,"HasLeft":false,"Blurred":0,"Expelled":0,` +
		`"Channels":[{"Channel":"a\u0000\"é","Since":7}],"Replays":[{"Channel":"a","At":9,"Offsets":"AcgB"}],"Epoch":"e","Version":2}`
	goldenLetter  = "\x01q\xac\x02\x08abcdefgh\x03who\x80\x94\xeb\xdc\x03x"
	goldenNotice  = "\x02+ epoch 3 4 3\nann{\"name\":\"Ann\"}"
	goldenMachine = `{"id":"abcdefgh","address":"http://10.0.1.7:9001","version":"v1.2.3","started":"2001-09-09T01:46:40Z"}`
	goldenApp     = `{"v":1,"id":"app_a","name":"shop","created":"2001-09-09T01:46:40Z"}`
)

func TestWhatEarlierVersionsWroteIsRead(t *testing.T) {
	body := hub.Message{Event: "e", Except: "sid", Data: []byte(`[1]`), Keep: hub.Keep{Messages: 100, Age: 2 * time.Minute}, NoHistory: true}
	if text := encodeBody(&body); text != goldenBody {
		t.Errorf("a message is written as %q", text)
	}
	l := &letter{kind: letterQuestion, id: 300, from: "abcdefgh", question: "who", timeout: time.Second, body: []byte("x")}
	if read, err := readLetter(goldenLetter); err != nil || !reflect.DeepEqual(read, l) || l.encode() != goldenLetter {
		t.Errorf("a letter: %+v, %v", read, err)
	}
	want := notice{what: '+', at: hub.Position{Epoch: "epoch", Offset: 4}, before: 3, user: "ann", info: []byte(`{"name":"Ann"}`)}
	if read, err := readNotice(goldenNotice); err != nil || !reflect.DeepEqual(read, want) {
		t.Errorf("a notice: %+v, %v", read, err)
	}
	if read := membersIn(map[string]string{"n": "4", "u": "abcdefgh ", "uann": "abcdefghijklmnop " + `{"name":"Ann"}`}); len(read) != 1 || read[0].User != "ann" || string(read[0].Info) != `{"name":"Ann"}` {
		t.Errorf("members: %+v", read)
	}
	fact, err := decodeFact("1764300000000-3", map[string]string{"t": "client", "c": "orders", "u": "ann", "i": "{}", "k": "sid", "e": "client-x", "d": "[1]", "r": "why", "o": "code", "n": "2", "h": "hook_1"})
	event := webhook.Event{Type: webhook.ClientEvent, Channel: "orders", User: "ann", Info: []byte("{}"), Connection: "sid", Event: "client-x", Data: []byte("[1]"), Reason: "why", Code: "code", Count: 2}
	if err != nil || fact.ID.String() != "1764300000000-3" || fact.Hook != "hook_1" || !reflect.DeepEqual(fact.Event, event) {
		t.Errorf("a fact: %+v, %v", fact, err)
	}
	if app, err := keystore.Decode("app_a", []byte(goldenApp)); err != nil || app.Name != "shop" {
		t.Errorf("an app: %+v, %v", app, err)
	}

	// The rest is read in Redis.
	s := startRedis(t)
	m := newNode(t, s.url(), "", "a", time.Hour)
	s.do("HSET", m.member().machinesKey(), "abcdefgh", strconv.FormatInt(time.Now().Add(time.Hour).UnixMilli(), 10)+" 1 "+goldenMachine)
	m.Update(cluster.Machine{ID: m.id})
	until(t, "the machine is known", func() bool { return len(m.Machines()) == 2 })
	if other := m.Machines()[1]; other.Version != "v1.2.3" || other.Address != "http://10.0.1.7:9001" || other.Started.Unix() != 1e9 {
		t.Errorf("a machine: %+v", other)
	}
	s.do("HSET", m.sessionKey("app", "p")[0], "m", "abcdefgh", "v", "2", "r", goldenSession)
	if r, machine, err := m.FindSession(t.Context(), "app", "p"); err != nil || machine != "abcdefgh" || !reflect.DeepEqual(r, record("p", 2)) {
		t.Errorf("a session: %+v of %s, %v", r, machine, err)
	}
	s.inject(m.machine, goldenMessage)
	m.subscribe("app", "a")
	s.inject(m.machine, strings.Replace(goldenMessage, " 7 0 ", " 8 7 ", 1))
	until(t, "the message arrives", func() bool { return len(m.delivered("app")) == 1 })
	body.App, body.Channel, body.Position = "app", "a", hub.Position{Epoch: "epoch", Offset: 8}
	if got := m.delivered("app")[0]; !reflect.DeepEqual(got, &body) {
		t.Errorf("a message: %+v", got)
	}
	m.locked(func() {
		if past := m.fills[0].past; len(past) != 1 || past[0].Message.Offset != 7 {
			t.Errorf("the history: %+v", m.fills[0])
		}
	})
}

// locked calls f with the machine's lock.
func (n *node) locked(f func()) {
	n.machine.mu.Lock()
	defer n.machine.mu.Unlock()
	f()
}

// inject publishes a message of the channel a of app, as publish.lua does.
func (s *redisServer) inject(m *machine, text string) {
	s.t.Helper()
	a := m.app("app")
	head := strings.Split(text[1:strings.IndexByte(text, '\n')], " ")
	epoch, offset := head[0], head[1]
	for _, command := range [][]string{
		{"HSET", a.positionKey(), "e", epoch, "o", offset},
		{"SET", a.placeKey(epoch, "a"), offset},
		{"XADD", a.base + "s:" + epoch + ":a", offset + "-0", "m", text},
		{"SPUBLISH", a.base + "c:a", text},
	} {
		if err := s.do(command...).Error(); err != nil {
			s.t.Fatal(err)
		}
	}
}

func TestMessagesOfALaterVersionAreSaidAsLost(t *testing.T) {
	s := startRedis(t)
	m := ofMachines(s, 1)[0]
	core, logs := observer.New(zap.WarnLevel)
	m.log = zap.New(core)
	first := message("app", "a", "first")
	m.subscribe("app", "a")
	m.publish(first)
	later := func(version string, offset uint64, body string) {
		t.Helper()
		s.inject(m, fmt.Sprintf("%s%s %d %d 1764300000000\n%s", version, first.Epoch, offset, offset-1, body))
	}
	later("\x03", 2, goldenBody)
	later("\x01", 3, "\x07"+goldenBody[1:]) // with a flag that this version does not know
	m.publish(message("app", "a", "fourth"))
	until(t, "what is readable arrives", func() bool { return len(m.delivered("app")) == 2 })
	m.mu.Lock()
	if fmt.Sprint(m.lost) != "[a 2 a 3]" {
		t.Errorf("lost: %v", m.lost)
	}
	m.mu.Unlock()
	if got := m.delivered("app")[1]; got.Event != "fourth" || got.Offset != 4 {
		t.Errorf("%+v", got)
	}
	lines := logs.FilterMessageSnippet("unreadable").All()
	if len(lines) != 1 || !strings.Contains(fmt.Sprint(lines[0].ContextMap()["error"]), "same version") {
		t.Errorf("log lines: %v", lines)
	}

	// Another machine's first subscriber is told that the history begins after them.
	if f := ofMachines(s, 1)[0].fill("app", "a"); f.floor != 3 || len(f.past) != 1 || f.past[0].Message.Event != "fourth" {
		t.Errorf("filled %+v", f)
	}
}

func TestMessagesOfALaterVersionThatWereMissedAreSaidAsLost(t *testing.T) {
	s := startRedis(t)
	m := ofMachines(s, 1)[0]
	first := message("app", "a", "first")
	m.subscribe("app", "a")
	m.publish(first)
	until(t, "it arrives", func() bool { return len(m.delivered("app")) == 1 })
	// As after a connection that broke: it is in the stream alone.
	text := fmt.Sprintf("\x03%s 2 1 1764300000000\n?", first.Epoch)
	a := m.app("app")
	for _, command := range [][]string{
		{"HSET", a.positionKey(), "o", "2"},
		{"SET", a.placeKey(first.Epoch, "a"), "2"},
		{"XADD", a.base + "s:" + first.Epoch + ":a", "2-0", "m", text},
	} {
		if err := s.do(command...).Error(); err != nil {
			t.Fatal(err)
		}
	}
	m.publish(message("app", "a", "third"))
	until(t, "the next arrives", func() bool { return len(m.delivered("app")) == 2 })
	m.mu.Lock()
	defer m.mu.Unlock()
	if fmt.Sprint(m.lost) != "[a 2]" {
		t.Errorf("lost: %v", m.lost)
	}
}

func TestMessageOfALaterVersionThatComesWhileTheHistoryIsReadEndsIt(t *testing.T) {
	s := startRedis(t)
	m := s.join("")
	first := message("app", "a", "first")
	m.publish(first)
	a, l := m.app("app"), m.lane("app")
	sub, name := &subscription{app: a, channel: "a"}, a.pubsubName("a")
	l.add(name, sub)
	conn, err := l.await(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f := a.expectFill(sub)
	if err := l.do(conn, conn.B().Ssubscribe().Channel(name).Build()); err != nil {
		t.Fatal(err)
	}
	if f.at, err = positionIn(conn.Do(t.Context(), a.position(conn))); err != nil {
		t.Fatal(err)
	}
	if err := a.readPast(t.Context(), "a", f); err != nil || len(f.past) != 1 {
		t.Fatal(f.past, err)
	}
	s.inject(m, fmt.Sprintf("\x03%s 2 1 1764300000000\n?", first.Epoch))
	third := message("app", "a", "third")
	m.publish(third)
	until(t, "both have come", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.at == third.Position
	})
	if done, err := a.place(t.Context(), item{sub: sub, fill: f}); !done || err != nil {
		t.Fatal(done, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if got := m.fills[0]; got.floor != 2 || len(got.past) != 1 || got.past[0].Offset != 3 {
		t.Errorf("filled %+v", got)
	}
}

func TestSessionOfALaterVersionBeginsAgain(t *testing.T) {
	s := startRedis(t)
	m := newNode(t, s.url(), "", "a", time.Hour)
	s.do("HSET", m.sessionKey("app", "p")[0], "m", "abcdefgh", "v", "2", "r", "2"+goldenSession[1:])
	if r, _, err := m.FindSession(t.Context(), "app", "p"); r != nil || !errors.Is(err, errRecord) {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestChangesOfMembersOfALaterVersionAreReadAgain(t *testing.T) {
	s := startRedis(t)
	all := venues(t, s.url(), "a", "b")
	core, logs := observer.New(zap.WarnLevel)
	all[0].log = zap.New(core)
	watcher := all[0].enter("room", "")
	all[1].enter("room", "bob")
	watcher.expect("bob")
	a := all[0].app("app")
	// A member that this machine has not heard of, and news that it cannot read.
	s.do("HSET", a.membersKey("room"), "uann", all[1].id+` {"of":"ann"}`)
	for range 3 {
		s.do("SPUBLISH", a.base+"c:room", "\x02* whatever this is\nx")
	}
	watcher.expect("ann bob")
	if n := logs.FilterMessageSnippet("change of a channel's members is unreadable").Len(); n != 1 {
		t.Errorf("%d log lines", n)
	}
}

func TestFactsOfALaterVersionAreLeftOutAndLogged(t *testing.T) {
	s := startRedis(t)
	n := newNode(t, s.url(), "", "a", time.Hour)
	core, logs := observer.New(zap.WarnLevel)
	n.log = zap.New(core)
	base := baseName("rt", "shop")
	s.do("XADD", factsKey(base), "1-0", "t", "moved", "c", "orders", "z", "a field that this version does not know")
	s.do("XADD", factsKey(base), "2-0", "t", "occupied", "c", "orders", "z", "the same")
	page, err := n.ReadFacts(t.Context(), "shop", webhook.FactID{}, webhook.UnknownIndex, 10)
	if err != nil || len(page.Facts) != 2 || page.Facts[0].Event.Type != "" || page.Facts[1].Event.Type != webhook.ChannelOccupied {
		t.Fatal(err, page)
	}
	if lines := logs.FilterMessageSnippet("type that this version does not know").All(); len(lines) != 1 || lines[0].ContextMap()["type"] != "moved" {
		t.Errorf("log lines: %v", lines)
	}
}

func TestAppOfALaterVersionStaysAsItWasAndIsSaid(t *testing.T) {
	server := startRedis(t)
	m := newHolder(t, server.url())
	registry, s := m.open()
	other, _ := newHolder(t, server.url()).open()
	id := create(t, registry, "shop").App.ID
	knows(t, other, id, "shop")
	key := "rt:{" + id + "}:app"
	record, err := server.do("GET", key).ToString()
	if err != nil {
		t.Fatal(err)
	}
	server.do("SET", key, strings.Replace(record, `{"v":1,`, `{"v":99,"new":1,`, 1))
	server.do("PUBLISH", "rt:apps:changed", "0 "+id)
	m.logged("an app cannot be read, and stays as it was known here")
	app, ok := registry.App(id)
	if !ok || app.Name != "shop" {
		t.Errorf("%+v", app)
	}
	wantError(t, registry.Check(t.Context()), id, "format 99", "run the newer version")
	_, err = registry.Update(id, func(a *keystore.App) error { a.Name = "store"; return nil })
	wantError(t, err, "format 99")

	// All apps are read again, of which one is unreadable: the others change.
	s.changed("")
	second := create(t, other, "second").App.ID
	knows(t, registry, second, "second")
	server.do("SET", "rt:{"+second+"}:app", strings.Replace(record, id, second, 1))
	s.changed("")
	knows(t, registry, second, "shop")
	if n := m.logs.FilterMessageSnippet("an app cannot be read").Len(); n != 1 {
		t.Errorf("%d log lines", n)
	}

	// A new process with this version does not start without it.
	_, _, err = newHolder(t, server.url()).tryOpen()
	wantError(t, err, id, "run the newer version")

	server.do("SET", key, strings.Replace(record, `"shop"`, `"market"`, 1))
	s.changed(id)
	knows(t, registry, id, "market")
	if err := registry.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestWebhookPositionOfALaterVersionMakesAReset(t *testing.T) {
	s := startRedis(t)
	r := newReceiver(t)
	hook := hookTo(r.URL)
	first := newTeller(t, s.url(), "a", hook)
	senderOf(t, first)
	first.say(0, 3)
	until(t, "the events", func() bool { return len(r.got()) == 3 })
	key := senderKey(baseName("rt", "shop"))
	kept := func() string {
		text, _ := s.do("HGET", key, "r:hook_1").ToString()
		return text
	}
	until(t, "its position is kept", func() bool {
		return strings.HasPrefix(kept(), `{"v":1,"next":4,`) && !strings.Contains(kept(), `"batch"`)
	})
	first.quit()
	s.do("HSET", key, "r:hook_1", strings.Replace(kept(), `{"v":1,`, `{"v":2,"new":1,`, 1))
	second := newTeller(t, s.url(), "b", hook)
	until(t, "a reset", func() bool { return len(r.got()) == 4 })
	if e := r.got()[3]; e.Type != webhook.StateReset || e.Seq <= 3 {
		t.Errorf("%+v", e)
	}
	second.say(0, 2)
	until(t, "what happens after it", func() bool { return len(r.got()) == 6 })

	// An earlier version wrote positions without a format.
	until(t, "its position is kept", func() bool { return !strings.Contains(kept(), `"batch"`) })
	second.quit()
	s.do("HSET", key, "r:hook_1", strings.Replace(kept(), `"v":1,`, ``, 1))
	newTeller(t, s.url(), "c", hook).say(0, 1)
	until(t, "the next event", func() bool { return len(r.got()) >= 7 })
	if e, before := r.got()[6], r.got()[5]; e.Type != webhook.ClientEvent || e.Seq != before.Seq+1 {
		t.Errorf("%+v after %+v", e, before)
	}
}
