package redis

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

func (m *holder) copyText() string {
	text, err := os.ReadFile(m.Copy)
	if err != nil && !os.IsNotExist(err) {
		m.t.Fatal(err)
	}
	return string(text)
}

func TestReloadWithAnotherCopyWritesThatOne(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	m, next := newHolder(t, server.url()), newHolder(t, server.url())
	registry, s := m.open()
	create(t, registry, "shop")
	until(t, "the copy is written", func() bool { return strings.Contains(m.copyText(), "shop") })
	if err := next.Renew(s); err != nil {
		t.Fatal(err)
	}
	until(t, "the other copy is written", func() bool { return strings.Contains(next.copyText(), "shop") })
	create(t, registry, "later")
	until(t, "the other copy has changes", func() bool { return strings.Contains(next.copyText(), "later") })
	if strings.Contains(m.copyText(), "later") {
		t.Error("the copy that is no longer configured has changes, too")
	}
}

func TestStartWithoutRedisServesTheCopy(t *testing.T) {
	t.Parallel()
	server := startRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	m := newHolder(t, server.url())
	registry, _ := m.open()
	other, _ := newHolder(t, server.url()).open()
	made, deleted, later := create(t, registry, "<shop>"), create(t, registry, "deleted"), create(t, other, "of the other").App.ID
	knows(t, registry, later, "of the other")
	if err := registry.Delete(deleted.App.ID); err != nil {
		t.Fatal(err)
	}
	if err := registry.Close(); err != nil { // which writes what was not written yet
		t.Fatal(err)
	}
	rename(t, other, later, "changed") // which the copy does not have
	if info, err := os.Stat(m.Copy); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if text := m.copyText(); strings.Contains(text, made.PublishKey[8:]) {
		t.Error("the copy has a key")
	}
	server.kill()

	registry, s := m.open()
	m.logged("redis cannot be reached: the apps and keys are those of the last copy")
	if n := count(registry); n != 2 {
		t.Errorf("%d apps, want 2", n)
	}
	knows(t, registry, later, "of the other")
	app, _ := registry.App(made.App.ID)
	if _, err := app.Check(keystore.Publish, made.PublishKey, time.Now()); err != nil {
		t.Error(err)
	}
	_, err := registry.RevokeKey(made.App.ID, made.App.Keys[0].ID)
	wantError(t, err, "cannot be reached")
	wantError(t, registry.Delete(made.App.ID), "cannot be reached")
	wantError(t, s.Check(t.Context()), "cannot be reached")

	server.start()
	knows(t, registry, later, "changed")
	m.logged("redis is back")
	if err := registry.Delete(made.App.ID); err != nil {
		t.Error(err)
	}
	knows(t, other, made.App.ID, "")
}

func TestStartWithoutRedisAndWithoutACopyFails(t *testing.T) {
	m := newHolder(t, fmt.Sprintf("redis://user:hunter2@127.0.0.1:%d", freePort(t)))
	_, _, err := m.tryOpen()
	wantError(t, err, "cannot be reached", "no copy", m.Copy)
	if strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
}

func TestCopyThatCannotBeUsedIsNamed(t *testing.T) {
	m := newHolder(t, fmt.Sprintf("redis://127.0.0.1:%d", freePort(t)))
	for text, reason := range map[string]string{
		"":        "JSON",
		"{}":      "not a copy",
		`{"v":2}`: "format 2",
		`{"v":1,"identity":"redis://10.0.0.9:6379/0 rt"}`:                           "another keystore, redis://10.0.0.9",
		fmt.Sprintf(`{"v":1,"identity":%q,"apps":{"app_a":{"v":9}}}`, m.Identity()): "newer version",
	} {
		if err := os.WriteFile(m.Copy, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := m.tryOpen()
		wantError(t, err, "cannot be reached", m.Copy, reason)
	}
}

func TestCopyThatCannotBeWrittenIsNoHindrance(t *testing.T) {
	server := startRedis(t)
	m := newHolder(t, server.url())
	m.Copy = "/proc/none/copy.json"
	registry, _ := m.open()
	create(t, registry, "shop")
	m.logged("the copy of the keystore cannot be written")
}

// A wrong configuration must not start with the copy and stay unnoticed.
func TestWrongPasswordIsRefusedInSpiteOfACopy(t *testing.T) {
	server := startRedis(t, "--requirepass", "secret")
	m := newHolder(t, server.as(":secret"))
	registry, _ := m.open()
	create(t, registry, "shop")
	if err := registry.Close(); err != nil {
		t.Fatal(err)
	}
	for url, cure := range map[string]string{
		server.as(":hunter2"): "refuses the user or the password",
		server.defaultURL():   "requires a password",
	} {
		m.URL = url
		m.provision()
		_, _, err := m.tryOpen()
		wantError(t, err, cure)
		if strings.Contains(err.Error(), "hunter2") {
			t.Error(err)
		}
	}
}

// A server that accepts connections, but does not answer, is not waited for forever.
func TestServerThatHangsAtTheStartIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	m := newHolder(t, server.url())
	registry, _ := m.open()
	id := create(t, registry, "shop").App.ID
	if err := registry.Close(); err != nil {
		t.Fatal(err)
	}
	server.signal(syscall.SIGSTOP)
	begin := time.Now()
	registry, _ = m.open()
	if took := time.Since(begin); took > 2*openTimeout+loadSlack {
		t.Errorf("it took %s", took)
	}
	knows(t, registry, id, "shop")
	begin = time.Now()
	if err := registry.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > 2*callTimeout+loadSlack {
		t.Errorf("closing took %s", took)
	}
}
