package webhook

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// Set replaces the hooks of all apps. A hook that is not in the list any more is
// removed with its queue, so the list must be complete. Requests that are under way
// end with the hook as it was.
//
// The first Set after Open is to have the hooks that were there before. Those that
// the directory does not know, and all of them after an unclean end, get StateReset;
// their numbers then continue at one that is greater than any that was used.
//
// The error names the hooks that cannot be used; Set applies the others.
func (m *Manager) Set(hooks []Hook) error {
	m.setting.Lock()
	defer m.setting.Unlock()
	if m.closed {
		return ErrClosed
	}
	var (
		failed error
		valid  []*Hook
	)
	wanted := make(map[string]*Hook, len(hooks))
	for i := range hooks {
		hook := hooks[i].clone()
		if wanted[hook.ID] != nil {
			failed = errors.Join(failed, fmt.Errorf("the webhook %s is there twice", hook.ID))
			continue
		}
		wanted[hook.ID] = hook
		if err := hook.check(); err != nil {
			failed = errors.Join(failed, err) // if there is such a hook, it stays as it is
			continue
		}
		valid = append(valid, hook)
	}
	failed = errors.Join(failed, m.remove(wanted))
	for _, hook := range valid {
		if err := m.apply(hook); err != nil {
			failed = errors.Join(failed, fmt.Errorf("the webhook %s cannot be used: %w", hook.ID, err))
		}
	}
	m.first = false
	m.index.Store(newIndex(m.queues))
	m.setLeads()
	return failed
}

// setLeads takes part in sending for the apps that have hooks, and no longer for others.
func (m *Manager) setLeads() {
	if m.shared == nil {
		return
	}
	byApp := make(map[string][]*queue)
	for _, q := range m.queues {
		app := q.hook.Load().App
		byApp[app] = append(byApp[app], q)
	}
	for app, l := range m.leads {
		if byApp[app] == nil {
			l.close()
			m.mu.Lock()
			delete(m.leads, app)
			m.mu.Unlock()
		}
	}
	for app, queues := range byApp {
		l := m.leads[app]
		if l == nil {
			l = m.newLead(app)
			m.mu.Lock()
			m.leads[app] = l
			m.mu.Unlock()
		}
		l.set(queues)
	}
}

// remove removes the hooks that are not wanted, and at the first Set also the
// journals of such hooks.
func (m *Manager) remove(wanted map[string]*Hook) (failed error) {
	kept := make(index)
	for app, wishes := range *m.index.Load() {
		for _, w := range wishes {
			if hook := wanted[w.queue.hook.Load().ID]; hook != nil && hook.App == app {
				kept[app] = append(kept[app], w)
			}
		}
	}
	m.index.Store(&kept) // nothing is queued for the others any more
	for id, q := range m.queues {
		if hook := wanted[id]; hook == nil || hook.App != q.hook.Load().App {
			m.mu.Lock()
			delete(m.queues, id)
			m.mu.Unlock()
			failed = errors.Join(failed, q.remove())
		}
	}
	if !m.first || m.shared != nil {
		return failed
	}
	known, err := m.dir.files(queueSuffix)
	failed = errors.Join(failed, err)
	for _, id := range known {
		if wanted[id] == nil {
			j := journal{path: m.dir.file(id + queueSuffix)}
			failed = errors.Join(failed, j.remove())
		}
	}
	return failed
}

// apply adds or changes a hook.
func (m *Manager) apply(hook *Hook) error {
	q := m.queues[hook.ID]
	if q == nil {
		return m.open(hook)
	}
	before := q.hook.Load()
	if same(before, hook) {
		return nil
	}
	q.hook.Store(hook)
	switch {
	case before.Enabled && !hook.Enabled:
		q.pause()
	case !before.Enabled && hook.Enabled && q.remote == nil:
		q.add(Event{Type: StateReset, Time: time.Now()})
	}
	q.mu.Lock()
	if !before.Enabled || before.URL != hook.URL {
		q.gone = false
		q.status.failures, q.status.slow = 0, false
	}
	q.mu.Unlock()
	q.start()
	return nil
}

// open opens the queue of a hook, and creates it if needed.
func (m *Manager) open(hook *Hook) error {
	q := &queue{manager: m, poke: make(chan struct{}, 1)}
	q.hook.Store(hook)
	if m.shared != nil {
		q.remote = &remote{queue: q}
		q.source = q.remote
		m.mu.Lock()
		defer m.mu.Unlock()
		m.queues[hook.ID] = q
		return nil
	}
	q.source, q.journal.path = q, m.dir.file(hook.ID+queueSuffix)
	known, err := q.load()
	if err != nil {
		return err
	}
	q.disk.Lock()
	defer q.disk.Unlock()
	reset := m.first && (!known || !m.dir.clean)
	if reset {
		// Numbers that were used may not be on disk, so they continue at one
		// that no queue reaches by counting.
		q.state.Next = max(q.state.Next, uint64(time.Now().UnixMicro()))
		q.add(Event{Type: StateReset, Time: time.Now()})
	}
	if reset || !known {
		q.save()
	}
	m.mu.Lock()
	m.queues[hook.ID] = q
	m.mu.Unlock()
	q.publish()
	return nil
}

// stop ends the queue: nothing more is added or sent.
func (q *queue) stop() {
	q.mu.Lock()
	q.stopped = true
	q.mu.Unlock()
	q.pause()
}

// remove ends the queue and deletes its journal.
func (q *queue) remove() error {
	q.stop()
	if q.remote != nil {
		q.remote.publishNone()
		return q.remote.remove(q.manager.requests)
	}
	q.disk.Lock()
	defer q.disk.Unlock()
	q.removed = true
	q.mu.Lock()
	q.manager.waiting.Add(-int64(q.stored))
	q.stored = 0
	q.mu.Unlock()
	q.log().Debug("the queue of a removed webhook is deleted", zap.Int("events", q.state.stored))
	return q.journal.remove()
}

// close writes what is left to disk. Senders and the writer must have ended.
func (q *queue) close() error {
	q.flush()
	q.disk.Lock()
	defer q.disk.Unlock()
	if q.unsynced {
		q.save()
	}
	if q.unsynced || q.unsaved > 0 {
		return fmt.Errorf("the queue of the webhook %s cannot be written: its events are lost", q.hook.Load().ID)
	}
	return q.journal.sync()
}
