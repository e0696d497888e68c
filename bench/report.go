package main

import (
	"fmt"
	"io"
	"strings"
)

// A column of a table is a measure with its name and precision.
type column struct {
	title, measure, format string
}

var (
	fanoutColumns = []column{
		{"CPU µs per delivery", "cpu", "%.2f"},
		{"deliveries/s", "rate", "%.0f"},
		{"p50 ms", "p50", "%.2f"},
		{"p99 ms", "p99", "%.2f"},
		{"max ms", "max", "%.1f"},
		{"lost", "lost", "%.0f"},
	}
	narrowColumns = []column{
		{"CPU µs per publish", "publish", "%.1f"},
		{"publishes/s", "publishes", "%.0f"},
		{"p50 ms", "p50", "%.2f"},
		{"p99 ms", "p99", "%.2f"},
		{"max ms", "max", "%.1f"},
		{"lost", "lost", "%.0f"},
	}
	connectColumns = []column{{"CPU µs per connect", "cpu", "%.0f"}, {"connects/s", "rate", "%.0f"}, {"stuck", "stuck", "%.0f"}}
	idleColumns    = []column{{"bytes per idle connection", "bytes", "%.0f"}}
)

// A section is a work with its columns; in the first of them, and in compared,
// others are compared with ours.
type section struct {
	work     string
	title    string
	columns  []column
	compared []column
}

func sections() (all []section) {
	for _, f := range append(append([]fanout{}, small...), large...) {
		s := section{work: f.String(), columns: fanoutColumns, compared: fanoutColumns[:1]}
		s.title = fmt.Sprintf("1 channel × %d, %s, %d bytes", f.subscribers, plural(f.publishers, "publisher"), f.payload)
		if f.publishers > 1 {
			s.compared = fanoutColumns[:2]
		}
		all = append(all, s)
	}
	for _, f := range narrow {
		title := fmt.Sprintf("%d channels × 1, %s, %d bytes", f.channels, plural(f.publishers, "publisher"), f.payload)
		all = append(all, section{f.String(), title, narrowColumns, narrowColumns[:1]})
	}
	return append(all,
		section{"connect", fmt.Sprintf("%d connect and subscribe, %d at a time", storm, parallel), connectColumns, connectColumns[:1]},
		section{"idle", fmt.Sprintf("%d idle connections", idle), idleColumns, idleColumns})
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func (r *results) print(w io.Writer, s *settings) {
	for _, sec := range sections() {
		if r.has(sec.work) {
			r.printSection(w, s, sec)
		}
	}
	if len(r.Failures) > 0 {
		fmt.Fprintf(w, "### Failed\n\n")
		for _, text := range r.Failures {
			fmt.Fprintf(w, "- %s\n", strings.ReplaceAll(strings.TrimSpace(text), "\n", " "))
		}
	}
}

func (r *results) has(work string) bool {
	for _, rec := range r.Records {
		if rec.Work == work {
			return true
		}
	}
	return false
}

func (r *results) printSection(w io.Writer, s *settings, sec section) {
	fmt.Fprintf(w, "### %s\n\n| server |", sec.title)
	for _, c := range sec.columns {
		fmt.Fprintf(w, " %s |", c.title)
	}
	for _, c := range sec.compared {
		fmt.Fprintf(w, " ours ÷ it, %s |", c.title)
	}
	fmt.Fprintf(w, "\n|---|%s\n", strings.Repeat("---|", len(sec.columns)+len(sec.compared)))
	for _, p := range s.peers {
		if len(r.of(sec.work, p.Name, sec.columns[0].measure)) == 0 {
			continue
		}
		fmt.Fprintf(w, "| %s |", p.Name)
		for i, c := range sec.columns {
			r.printCell(w, r.of(sec.work, p.Name, c.measure), c, i == 0)
		}
		for _, c := range sec.compared {
			if p.Name == "ours" {
				fmt.Fprint(w, " |")
			} else {
				r.printCell(w, r.ratios(sec.work, "ours", p.Name, c.measure), column{format: "%.2f"}, true)
			}
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
}

// printCell prints a median and, if wanted, the least and the most. What was
// lost or stuck is a sum, and a maximum stays one.
func (r *results) printCell(w io.Writer, byRound map[int]float64, c column, whole bool) {
	sp, ok := spreadOf(byRound)
	switch {
	case !ok:
		fmt.Fprint(w, " – |")
	case c.measure == "lost", c.measure == "stuck":
		sum := 0.0
		for _, v := range byRound {
			sum += v
		}
		fmt.Fprintf(w, " "+c.format+" |", sum)
	case c.measure == "max":
		fmt.Fprintf(w, " "+c.format+" |", sp.most)
	case whole && len(byRound) > 1:
		fmt.Fprintf(w, " "+c.format+" ("+c.format+"–"+c.format+") |", sp.median, sp.least, sp.most)
	default:
		fmt.Fprintf(w, " "+c.format+" |", sp.median)
	}
}
