#!/usr/bin/env bash
# Builds build/caddy-clock: a Caddy with this module whose wall clock runs ahead by
# the number of seconds in the file that CLOCK_SHIFT names, which can change while it
# runs. The machine's clock is unaffected and monotonic time continues as usual, as
# when somebody sets the clock. The build replaces one line of Go's package time and
# does not modify the Go installation. It takes a few minutes.
set -eu
cd "$(dirname "$0")/.."
work=$PWD/build/clock
mkdir -p "$work"
source=$(go env GOROOT)/src/time

sed 's/^\tsec, nsec, mono := runtimeNow()$/&\n\tsec += shift()/' "$source/time.go" >"$work/time.go.txt"
grep -q 'shift()' "$work/time.go.txt" || { echo "clock: time.Now is not as it was in Go 1.26"; exit 1; }
cat >"$work/shift.go.txt" <<'GO'
package time

import (
	"sync/atomic"
	"syscall"
)

var shifted atomic.Int64

// shift is also called where nothing may be waited for.
func shift() int64 { return shifted.Load() }

func init() {
	if path, ok := syscall.Getenv("CLOCK_SHIFT"); ok {
		go watchShift(path)
	}
}

func watchShift(path string) {
	for ; ; Sleep(20 * Millisecond) {
		text, err := readFile(path)
		if err != nil || len(text) == 0 {
			continue
		}
		sign, n := int64(1), int64(0)
		for _, c := range text {
			if c == '-' {
				sign = -1
			} else if '0' <= c && c <= '9' {
				n = 10*n + int64(c-'0')
			}
		}
		shifted.Store(sign * n)
	}
}
GO
printf '{"Replace":{"%s/time.go":"%s/time.go.txt","%s/shift.go":"%s/shift.go.txt"}}\n' "$source" "$work" "$source" "$work" >"$work/overlay.json"

caddy=$(awk '$1 == "github.com/caddyserver/caddy/v2" {print $2}' go.mod)
module=$(awk '$1 == "module" {print $2}' go.mod)
tool="go tool -modfile=tools/go.mod xcaddy"
XCADDY_GO_BUILD_FLAGS="-overlay=$work/overlay.json" $tool build "$caddy" --with "$module@v0.0.0=." --with "$module/redis@v0.0.0=./redis" --output build/caddy-clock
