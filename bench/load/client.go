package load

import (
	"bytes"
	"fmt"
	"time"
)

// A Client is what a stock client keeps from one connection to the next, and an
// account of the messages that it gets.
type Client struct {
	pid, position string

	recovered bool  // on the current connection
	messages  int   // likewise
	repeated  int   // likewise: repeated, or in the wrong order
	last      int64 // when the last message was sent
}

// JoinClients connects n clients, each to all of so many channels.
func (c *Crowd) JoinClients(n, channels, parallel int) ([]*Client, error) {
	clients := make([]*Client, n)
	return clients, each(n, parallel, func(i int) error {
		clients[i] = &Client{}
		s, err := dialClient(c.target, clients[i], channels)
		if err == nil {
			c.admit(s, false)
		}
		return err
	})
}

// Publish sends n messages to so many channels in turn, and waits until each
// client, which is in all of them, has each.
func (c *Crowd) Publish(n, channels int) error {
	c.expect(int64(n * c.Size()))
	if err := Publish(c.target, n, channels, minPayload); err != nil {
		return err
	}
	c.await()
	if got := c.received.Load(); got != int64(n*c.Size()) {
		return fmt.Errorf("%d of %d messages were delivered", got, n*c.Size())
	}
	return nil
}

// Cut resets every connection, and returns once all have stopped reading.
func (c *Crowd) Cut() {
	c.Close()
	c.reading.Wait()
}

// Return is how clients came back.
type Return struct {
	Stormed
	Recovered int
	Delivered time.Duration // until the last message that they had missed
}

// Return has clients come back, all at once. Those that do not recover subscribe
// again; the others are owed so many messages each.
func (c *Crowd) Return(clients []*Client, channels, owed int) (Return, error) {
	start := now()
	stormed, err := c.storm(len(clients), func(t *Target, i int) (*socket, error) { return dialClient(t, clients[i], channels) })
	if err != nil {
		return Return{}, err
	}
	r := Return{Stormed: stormed}
	for _, client := range clients {
		if client.recovered {
			r.Recovered++
		}
	}
	c.expect(int64(r.Recovered * owed))
	r.Delivered = time.Duration(c.await() - start)
	return r, nil
}

// Faults returns how many messages clients that have recovered did not get, and
// how many they got again or in the wrong order. Their crowd must have been cut.
func Faults(clients []*Client, owed int) (missing, repeated int) {
	for _, client := range clients {
		if client.recovered {
			missing += owed - client.messages
			repeated += client.repeated
		}
	}
	return missing, repeated
}

// dialClient connects a client, which asks for recovery if its target's auth
// does.
func dialClient(t *Target, client *Client, channels int) (*socket, error) {
	return dialWith(t, stockTimeout, func(s *socket) error {
		if err := s.upgrade(t); err != nil {
			return err
		}
		auth := t.Auth
		if client.pid != "" {
			auth = `{"pid":"` + client.pid + `","offset":"` + client.position + `",` + auth[1:]
		}
		answer, err := s.connect(auth)
		if err != nil {
			return err
		}
		pid := field(answer, "pid")
		client.messages, client.repeated = 0, 0
		client.recovered = pid != "" && pid == client.pid
		client.pid = pid
		s.client = client
		for i := range channels {
			if client.recovered {
				break
			}
			if err := s.subscribe(Channel(i)); err != nil {
				return err
			}
		}
		return nil
	})
}

// take accounts for a message. One publisher sends all of them, so the time in
// each is later than that in the one before.
func (c *Client) take(payload []byte) {
	sent, ok := stamp(payload)
	if !ok {
		return
	}
	if sent <= c.last {
		c.repeated++
	} else {
		c.last = sent
		c.messages++
	}
	if text, ok := bytes.CutSuffix(payload, []byte(`"]`)); ok {
		c.position = string(text[bytes.LastIndexByte(text, '"')+1:])
	}
}

// field returns a string of a JSON object, or "".
func field(object []byte, name string) string {
	_, rest, _ := bytes.Cut(object, []byte(`"`+name+`":"`))
	value, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(value)
}
