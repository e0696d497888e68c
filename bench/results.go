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
	r.addFanout(round, work, peer, valuesOf(o))
}

func (r *results) addFanout(round int, work, peer string, v values) {
	fmt.Fprintf(os.Stderr, "%d %-10s %s: %.2f µs/delivery, %.1f µs/publish, %.0f/s, lost %.0f, p99 %.1f ms\n",
		round+1, peer, work, v["cpu"], v["publish"], v["rate"], v["lost"], v["p99"])
	r.add(record{round, work, peer, v})
}

func valuesOf(o load.Outcome) values {
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
	return v
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

// A comparison sets a measure of a server beside that of another one, the base,
// at the same work in the same round.
type comparison struct {
	title, measure, format string

	base string
	of   func(base, it float64) float64
}

// compare returns a comparison for a server, by round.
func (r *results) compare(work, peer string, c comparison) map[int]float64 {
	byRound := map[int]float64{}
	bases := r.of(work, c.base, c.measure)
	for round, it := range r.of(work, peer, c.measure) {
		if base, ok := bases[round]; ok && it != 0 && base != 0 {
			byRound[round] = c.of(base, it)
		}
	}
	return byRound
}

// oursOver are the comparisons "ours ÷ it" of some columns.
func oursOver(columns ...column) (all []comparison) {
	for _, c := range columns {
		all = append(all, comparison{
			"ours ÷ it, " + c.title, c.measure, "%.2f", "ours",
			func(ours, it float64) float64 { return ours / it },
		})
	}
	return all
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
