// Package cluster is how machines that share a broker know and ask each other.
package cluster

import (
	"context"
	"errors"
	"time"
)

// A Machine is one process of the gateway, from when it joins until it ends.
type Machine struct {
	// ID is IDLength random letters and digits. It begins the IDs of the machine's
	// connections.
	ID string `json:"id"`

	// Address is the URL at which the other machines reach this one, or "".
	Address string `json:"address,omitempty"`

	Version string    `json:"version,omitempty"` // of the gateway
	Started time.Time `json:"started"`
}

// IDLength is the length of a machine's ID.
const IDLength = 8

// A Cluster is the machines of one broker. A broker that serves several machines
// implements it besides hub.Broker. All methods but Join are called after Join, and
// none after the broker's Close.
type Cluster interface {
	// Join makes this machine one of the cluster until the broker is closed. It does
	// not wait for the others, nor for the broker's server.
	Join(self Machine, h Handler) error

	// Update tells the others what has changed about this machine. Its ID stays.
	Update(self Machine)

	// Machines returns the machines that are alive, in order of their IDs, with this
	// one. One that was killed is among them for up to 15 seconds. It does not block.
	Machines() []Machine

	// Ask asks a machine. The error is ErrUnknown if it is not alive, ErrNoAnswer if
	// it does not answer until ctx ends, or what its Answer has returned.
	Ask(ctx context.Context, machine, question string, body []byte) ([]byte, error)

	// AskAll asks all machines but this one at the same time. With an error, which
	// names the machines that did not answer, it returns the other answers.
	AskAll(ctx context.Context, question string, body []byte) ([]Answer, error)

	// Secret returns what only the machines of this cluster know.
	Secret(ctx context.Context) ([]byte, error)
}

// A Clock is a cluster whose machines have one clock, while their own may differ.
type Clock interface {
	// Now returns the time.
	Now(ctx context.Context) (time.Time, error)
}

// An Answer is what a machine has said.
type Answer struct {
	Machine string
	Body    []byte
}

// A Handler is a machine as the others see it.
type Handler interface {
	// Answer answers a question. Calls are concurrent. ctx ends when nobody waits any
	// longer.
	Answer(ctx context.Context, question string, body []byte) ([]byte, error)

	// Gone says that a machine has left or was lost. It is called on every machine,
	// one call at a time.
	Gone(m Machine)
}

// Errors of Ask.
var (
	ErrUnknown  = errors.New("the machine is not part of the cluster, or no longer")
	ErrNoAnswer = errors.New("the machine has not answered")
)
