package main

import "fmt"

var (
	deliveryHere   = column{"CPU µs per delivery, subscribers' machine", "cpu", "%.2f"}
	publishHere    = column{"CPU µs per publish, publishers' machine", "publish", "%.1f"}
	redisHere      = column{"CPU µs per publish, Redis", "redis", "%.1f"}
	uninterested   = column{"CPU µs per publish, a machine without subscribers", "others", "%.1f"}
	ceiling        = column{"messages/s that fill a Redis", "ceiling", "%.0f"}
	machineMedians = []column{
		{"publishes/s", "publishes", "%.0f"},
		{"p50 ms", "p50", "%.2f"},
		{"p99 ms", "p99", "%.2f"},
		{"lost", "lost", "%.0f"},
	}
	machineTargets = []comparison{
		{"it ÷ ours, delivery", "cpu", "%.2f", "ours", over},
		{"it ÷ ours, publish", "publish", "%.2f", "ours", over},
		{"p50 ms more than ours", "p50", "%.2f", "ours", func(ours, it float64) float64 { return it - ours }},
		{"it ÷ ours+redis, Redis", "redis", "%.2f", "ours+redis", over},
	}
)

func over(base, it float64) float64 { return it / base }

func machineSections() (all []section) {
	for _, w := range overMachines {
		columns := []column{deliveryHere, publishHere, redisHere}
		if w.machines > 2 {
			columns = append(columns, uninterested)
		}
		if w.publishers > 1 {
			columns = append(columns, ceiling)
		}
		all = append(all, section{
			w.String(), fmt.Sprintf("%s: %s", plural(w.machines, "machine"), w.title()),
			append(columns, machineMedians...), machineTargets,
		})
	}
	return all
}
