package main

import (
	"fmt"
	"os"
	"slices"

	"github.com/seed-c079cc48/caddy-realtime/bench/load"
)

// values are measurements by name.
type values map[string]float64

// A record is what one peer did at one work in one round.
type record struct {
	Round  int    `json:"round"`
	Work   string `json:"work"`
	Peer   string `json:"peer"`
	Values values `json:"values"`
}

// results are all of them.
type results struct {
	Records  []record `json:"records"`
	Failures []string `json:"failures"`
}

func (r *results) add(rec record) { r.Records = append(r.Records, rec) }

func (r *results) fail(text string) {
	fmt.Fprintln(os.Stderr, "bench:", text)
	r.Failures = append(r.Failures, text)
}

func (r *results) addOutcome(round int, work, peer string, o load.Outcome) {
	v := values{
		"publishes": float64(o.Publishes) / o.Elapsed.Seconds(),
		"publish":   micros(o.CPU) / float64(max(1, o.Publishes)),
		"lost":      float64(o.Lost),
		"rate":      float64(o.Deliveries) / o.Elapsed.Seconds(),
	}
	if o.Deliveries > 0 {
		v["cpu"] = micros(o.CPU) / float64(o.Deliveries)
	}
	if len(o.Latencies) > 0 {
		v["p50"], v["p99"], v["max"] = quantile(o.Latencies, 50), quantile(o.Latencies, 99), quantile(o.Latencies, 100)
	}
	fmt.Fprintf(os.Stderr, "%d %-10s %s: %.2f µs/delivery, %.0f/s, lost %d, p99 %.1f ms\n",
		round+1, peer, work, v["cpu"], v["rate"], o.Lost, v["p99"])
	r.add(record{round, work, peer, v})
}

// quantile is in milliseconds, from latencies in order of size.
func quantile(latencies []int64, percent int) float64 {
	if len(latencies) == 0 {
		return 0
	}
	return float64(latencies[(len(latencies)-1)*percent/100]) / 1e6
}

// of are the values of a peer at a work, by round.
func (r *results) of(work, peer, measure string) map[int]float64 {
	byRound := map[int]float64{}
	for _, rec := range r.Records {
		if v, ok := rec.Values[measure]; ok && rec.Work == work && rec.Peer == peer {
			byRound[rec.Round] = v
		}
	}
	return byRound
}

// ratios are ours ÷ another's, round by round.
func (r *results) ratios(work, ours, other, measure string) map[int]float64 {
	byRound := map[int]float64{}
	others := r.of(work, other, measure)
	for round, v := range r.of(work, ours, measure) {
		if o := others[round]; o != 0 {
			byRound[round] = v / o
		}
	}
	return byRound
}

// A spread is the median of some rounds, with the least and the most.
type spread struct{ median, least, most float64 }

func spreadOf(byRound map[int]float64) (spread, bool) {
	if len(byRound) == 0 {
		return spread{}, false
	}
	var all []float64
	for _, v := range byRound {
		all = append(all, v)
	}
	slices.Sort(all)
	n := len(all)
	return spread{(all[(n-1)/2] + all[n/2]) / 2, all[0], all[n-1]}, true
}
