package stats

import (
	"sync/atomic"
	"time"
)

// A StoreOperation is what was asked of the keystore's disk.
type StoreOperation int

// The operations.
const (
	Put     StoreOperation = iota // an app was made or changed
	Delete                        // an app was deleted
	PutUsed                       // it was written down when keys were used
	Check                         // somebody asked for the gateway's health
	operations
)

// String is the operation's name in metrics.
func (o StoreOperation) String() string {
	return [operations]string{"put", "delete", "put_used", "check"}[o]
}

// Store counts what was asked of the keystore's disk.
type Store [operations]StoreCounts

// StoreCounts are those of one operation.
type StoreCounts struct {
	Took   *Histogram // in nanoseconds, also of those that failed
	Errors atomic.Uint64
}

func (s *Store) init() {
	for i := range s {
		s[i].Took = newDurations(
			100*time.Microsecond, 250*time.Microsecond, 500*time.Microsecond, time.Millisecond, 2500*time.Microsecond, 5*time.Millisecond,
			10*time.Millisecond, 25*time.Millisecond, 50*time.Millisecond, 100*time.Millisecond, 250*time.Millisecond, 500*time.Millisecond,
			time.Second, 2500*time.Millisecond, 5*time.Second, 10*time.Second,
		)
	}
}

// Observe counts one operation.
func (s *Store) Observe(o StoreOperation, took time.Duration, err error) {
	s[o].Took.observe(took)
	if err != nil {
		s[o].Errors.Add(1)
	}
}
