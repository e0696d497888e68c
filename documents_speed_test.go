package realtime

import (
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestPerformancePageHasTheMeasuredNumbers compares the table in docs/performance.md
// with the measurements in bench/README.md, whose medians it rounds.
func TestPerformancePageHasTheMeasuredNumbers(t *testing.T) {
	servers := []string{"ours", "node", "centrifuge", "loop"}
	page := tableRows(t, "docs/performance.md", "## The result")
	for _, c := range []struct{ row, section, column string }{
		{"CPU µs per delivery, 1 channel × 1,000, 1 publisher", "1 channel × 1000, 1 publisher, 100 bytes", "CPU µs per delivery"},
		{"deliveries/s, 1 × 1,000, 32 publishers", "1 channel × 1000, 32 publishers, 100 bytes", "deliveries/s"},
		{"the same with 16 KiB", "1 channel × 1000, 32 publishers, 16384 bytes", "deliveries/s"},
		{"CPU µs per delivery, 1 × 10,000, 1 publisher", "1 channel × 10000, 1 publisher, 100 bytes", "CPU µs per delivery"},
		{"CPU µs per publish, 1,000 channels × 1, 16 publishers", "1000 channels × 1, 16 publishers, 100 bytes", "CPU µs per publish"},
		{"CPU µs per connect and subscribe", "5000 connect and subscribe, 64 at a time", "CPU µs per connect"},
		{"bytes per idle websocket, of 10,000", "10000 idle connections", "bytes per idle connection"},
		{"10,000 reconnect at once: s until all are subscribed", "10000 reconnect at once", "s until all are subscribed"},
	} {
		cells, ok := page[c.row]
		if !ok {
			t.Errorf("docs/performance.md has no row %q", c.row)
			continue
		}
		delete(page, c.row)
		measured := tableRows(t, "bench/README.md", "#### "+c.section)
		column := slices.Index(measured["server"], c.column)
		if column < 0 {
			t.Fatalf("bench/README.md has no column %q in %q", c.column, c.section)
		}
		for i, server := range servers {
			shown, err := number(cells[i])
			if err != nil || measured[server] == nil {
				continue // a word or nothing, for example "cuts clients off"
			}
			want, err := number(measured[server][column])
			if err != nil {
				t.Fatal(err)
			}
			if math.Abs(shown-want) > 0.02*want {
				t.Errorf("%s, %s: the page has %s, the measurement %s", c.row, server, cells[i], measured[server][column])
			}
		}
	}
	for row := range page {
		if row != "" {
			t.Errorf("docs/performance.md has a row %q that no measurement is known for", row)
		}
	}
}

// tableRows returns the rows of the first table below a heading by their first cell,
// without the row of dashes.
func tableRows(t *testing.T, file, heading string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(text), heading+"\n")
	if !found {
		t.Fatalf("%s has no heading %q", file, heading)
	}
	section := regexp.MustCompile(`(?m)^#+ `).Split(after, 2)[0]
	rows := make(map[string][]string)
	for line := range strings.Lines(section) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|--") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows[cells[0]] = cells[1:]
	}
	return rows
}

// number parses the number at the beginning of a cell.
func number(cell string) (float64, error) {
	first, _, _ := strings.Cut(cell, " ")
	return strconv.ParseFloat(strings.ReplaceAll(first, ",", ""), 64)
}
