package realtime

import "github.com/prometheus/client_golang/prometheus"

// refused returns the count of a kind of refusal.
func (s *testSite) refused(attempt, code string) float64 {
	s.t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(s.stats)
	families, err := registry.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "caddy_realtime_refused_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			if labels := metric.GetLabel(); labels[0].GetValue() == attempt && labels[1].GetValue() == code {
				return metric.GetCounter().GetValue()
			}
		}
	}
	return 0
}
