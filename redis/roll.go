package redis

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/redis/rueidis"
	"github.com/seed-c079cc48/caddy-realtime/cluster"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"go.uber.org/zap"
)

//go:embed machines.lua
var machinesSource string

var machinesScript = rueidis.NewLuaScript(machinesSource)

// A roll is the answer of machines.lua.
type roll struct {
	epoch, number string
	secret        []byte
	soonest       time.Duration // until the next lease of another machine ends
	peers         []*peer
}

var errRoll = errors.New("redis has something else than the list of machines; keys with this prefix belong to the broker alone")

// call renews the lease with a record, or leaves without one.
func (m *member) call(ctx context.Context, record string) (*roll, error) {
	m.mu.Lock()
	secret := string(m.secret)
	m.mu.Unlock()
	news := letter{kind: letterNews, from: m.id}
	keys := []string{m.machinesKey(), m.secretKey()}
	answer, err := m.broker.exec(ctx, machinesScript, keys,
		m.id, record, strconv.FormatInt(m.broker.lease.Milliseconds(), 10), hub.NewEpoch(m.base),
		m.epoch, m.number, secret, m.newsName(), news.encode(),
	).ToArray()
	if err != nil {
		return nil, err
	}
	if len(answer) != 5 {
		return nil, errRoll
	}
	a := new(roll)
	var errs [5]error
	a.epoch, errs[0] = answer[0].ToString()
	a.number, errs[1] = answer[1].ToString()
	a.secret, errs[2] = answer[2].AsBytes()
	soonest, err := answer[3].AsInt64()
	errs[3] = err
	a.soonest = time.Duration(soonest) * time.Millisecond
	texts, err := answer[4].AsStrSlice()
	errs[4] = err
	if errors.Join(errs[:]...) != nil || len(texts)%3 != 0 {
		return nil, errRoll
	}
	for i := 0; i < len(texts); i += 3 {
		a.peers = append(a.peers, &peer{Machine: m.readRecord(texts[i], texts[i+2]), joined: texts[i+1]})
	}
	return a, nil
}

// readRecord reads what a machine says of itself.
func (m *member) readRecord(id, record string) cluster.Machine {
	var read cluster.Machine
	if err := json.Unmarshal([]byte(record), &read); err != nil {
		m.foreign.Do(func() {
			m.broker.log.Warn("a machine's record is unreadable; all machines need the same version of the gateway", zap.String("machine", id), zap.Error(err))
		})
		read = cluster.Machine{}
	}
	read.ID = id
	return read
}
