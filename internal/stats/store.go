package stats

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The labels of operations on the keystore's disk.
const (
	Put     = "put"      // an app was created or changed
	Delete  = "delete"   // an app was deleted
	PutUsed = "put_used" // key usage times were stored
	Check   = "check"    // a health check was requested
)

// Store counts operations on the keystore's disk.
type Store struct {
	took   *prometheus.HistogramVec // includes failed operations
	errors *prometheus.CounterVec
}

func newStore() Store {
	s := Store{
		took: prometheus.NewHistogramVec(histogramOpts("store_operation_duration_seconds",
			"Time that operations on the keystore's disk took.",
			100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5, 1, 2.5, 5, 10), []string{"operation"}),
		errors: newCounterVec("store_errors_total", "Operations on the keystore's disk that failed.", "operation"),
	}
	for _, operation := range []string{Put, Delete, PutUsed, Check} { // so that they are collected before the first operation
		s.took.WithLabelValues(operation)
		s.errors.WithLabelValues(operation)
	}
	return s
}

// Observe counts an operation.
func (s *Store) Observe(operation string, took time.Duration, err error) {
	s.took.WithLabelValues(operation).Observe(took.Seconds())
	if err != nil {
		s.errors.WithLabelValues(operation).Inc()
	}
}
