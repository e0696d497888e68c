package main

import (
	"fmt"
	"io"
	"slices"
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
	slowColumns    = []column{
		{"p99 ms ÷ without them", "p99 ratio", "%.2f"},
		{"p99 ms without them", "p99 without", "%.1f"},
		{"p99 ms", "p99", "%.1f"},
		{"lost by readers", "lost", "%.0f"},
		{"readers cut off", "dropped", "%.0f"},
		{"stalled cut off", "cut off", "%.0f"},
		{"MB more at the peak", "grown", "%.0f"},
		{"MB more after -settle", "left", "%.0f"},
	}
	stormColumns = []column{
		{"CPU µs per connect", "cpu", "%.0f"},
		{"s until all are subscribed", "seconds", "%.1f"},
		{"503", "refused", "%.0f"},
		{"failed otherwise", "failed", "%.0f"},
		{"MB more at the peak", "grown", "%.0f"},
		{"MB more after -settle", "left", "%.0f"},
	}
	returningColumns = []column{
		{"CPU µs per client", "cpu", "%.0f"},
		{"s until all are back", "seconds", "%.1f"},
		{"s until all have everything", "delivered", "%.1f"},
		{"recovered", "recovered", "%.0f"},
		{"lost", "lost", "%.0f"},
		{"repeated", "repeated", "%.0f"},
		{"cut off again", "dropped", "%.0f"},
		{"503", "refused", "%.0f"},
		{"failed otherwise", "failed", "%.0f"},
		{"MB more at the peak", "grown", "%.0f"},
		{"MB more after -settle", "left", "%.0f"},
	}
)

// A section is a work with its columns, and how servers compare there.
type section struct {
	work     string
	title    string
	columns  []column
	compared []comparison
}

func sections() (all []section) {
	for _, works := range append(slices.Clone(crowds), large) {
		for _, f := range works {
			s := section{work: f.String(), title: f.title(), columns: fanoutColumns, compared: oursOver(fanoutColumns[:1]...)}
			switch {
			case f.subscribers == 1:
				s.columns, s.compared = narrowColumns, oursOver(narrowColumns[:1]...)
			case f.publishers > 1:
				s.compared = oursOver(fanoutColumns[:2]...)
			}
			all = append(all, s)
		}
	}
	all = append(all, machineSections()...)
	return append(all,
		section{"connect", fmt.Sprintf("%d connect and subscribe, %d at a time", connects, parallel), connectColumns, oursOver(connectColumns[:1]...)},
		section{"idle", fmt.Sprintf("%d idle connections", idle), idleColumns, oursOver(idleColumns...)},
		section{slow, fmt.Sprintf("%d readers and %d that stop reading, 16 KiB 40 times a second", readers, stalled), slowColumns, nil},
		section{storm, fmt.Sprintf("%d reconnect at once", idle), stormColumns, oursOver(stormColumns[:1]...)},
		section{
			returning, fmt.Sprintf("%d in %d channels reconnect at once, %d messages later", idle, subscribed, missed),
			returningColumns, oursOver(returningColumns[:2]...),
		})
}

func (f fanout) title() string {
	title := fmt.Sprintf("%s × %d, %s, %d bytes", plural(f.channels, "channel"), f.subscribers, plural(f.publishers, "publisher"), f.payload)
	if f.batch > 1 {
		title += fmt.Sprintf(", %d messages in each request", f.batch)
	}
	return title
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
		fmt.Fprintf(w, " %s |", c.title)
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
			if p.Name == c.base {
				fmt.Fprint(w, " |")
			} else {
				r.printCell(w, r.compare(sec.work, p.Name, c), column{format: c.format}, true)
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
	case c.measure == "lost", c.measure == "repeated", c.measure == "stuck", c.measure == "dropped":
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
