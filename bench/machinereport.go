package main

import "fmt"

var (
	subscribersColumn = column{"CPU µs per delivery, subscribers' machine", "cpu", "%.2f"}
	publishersColumn  = column{"CPU µs per publish, publishers' machine", "publish", "%.1f"}
	redisColumn       = column{"CPU µs per publish, Redis", "redis", "%.1f"}
	othersColumn      = column{"CPU µs per publish, each other machine", "others", "%.1f"}
	ceilingColumn     = column{"messages/s that fill a Redis", "ceiling", "%.0f"}
	machineColumns    = []column{
		{"publishes/s", "publishes", "%.0f"},
		{"p50 ms", "p50", "%.2f"},
		{"p99 ms", "p99", "%.2f"},
		{"lost", "lost", "%.0f"},
	}
	machineComparisons = []comparison{
		{"it ÷ ours, per delivery", "cpu", "%.2f", "ours", quotient},
		{"it ÷ ours, per publish", "publish", "%.2f", "ours", quotient},
		{"p50 ms more than ours", "p50", "%.2f", "ours", func(ours, it float64) float64 { return it - ours }},
		{"it ÷ ours+redis, Redis", "redis", "%.2f", "ours+redis", quotient},
	}
)

func quotient(base, it float64) float64 { return it / base }

func machineSections() (all []section) {
	for _, w := range overMachines {
		columns := []column{subscribersColumn, publishersColumn, redisColumn}
		if w.machines > 2 {
			columns = append(columns, othersColumn)
		}
		if w.publishers > 1 {
			columns = append(columns, ceilingColumn)
		}
		all = append(all, section{
			w.String(), fmt.Sprintf("%s: %s", plural(w.machines, "machine"), w.title()),
			append(columns, machineColumns...), machineComparisons,
		})
	}
	return all
}
