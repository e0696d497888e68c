#!/usr/bin/env bash
# Runs every fuzz target in turn, for FUZZTIME each, and prints a line for each. It
# stops at the first finding, which go test saves as a new seed in the package's
# testdata/fuzz.
#
#	FUZZTIME=10m FUZZ='Frames|Payload' scripts/fuzz.sh [go test arguments]
set -u
cd "$(dirname "$0")/.."
mkdir -p build

# out_of_time reports whether the only failure is the time limit, which Go before 1.27
# sometimes reports as a failure (golang/go#75804). A real finding prints more than
# this one line.
out_of_time() {
	[ "$(grep -c '^    ' "$1")" = 1 ] && grep -qx '    context deadline exceeded' "$1"
}

list=$(go test -list '^Fuzz' ./...) || { echo "$list"; exit 1; }
# go test lists the targets of a package before the package.
targets=$(awk '/^Fuzz/ {names[n++] = $1} /^ok/ {for (i = 0; i < n; i++) print names[i], $2; n = 0}' <<<"$list")

ran=0
while read -r name package; do
	[[ $name =~ ${FUZZ:-.} ]] || continue
	log=build/fuzz.log
	if ! go test -run '^$' -fuzz "^$name\$" -fuzztime "${FUZZTIME:-1m}" -timeout 0 "$@" "$package" >"$log" 2>&1 </dev/null && ! out_of_time "$log"; then
		cat "$log"
		echo "fuzz: $name of $package failed"
		exit 1
	fi
	# The last line with the counts: "fuzz: elapsed: 1m0s, execs: 1234 (20/sec), …".
	sed -n 's/^fuzz: elapsed: \(.*\), execs: \([0-9]*\) .*, new interesting: \([0-9]*\).*/\1 \2 \3/p' "$log" | tail -n 1 | {
		read -r elapsed execs new
		printf '%-24s %-10s %8s %12d executions %6d new inputs\n' "$name" "${package##*/}" "$elapsed" "$execs" "$new"
	}
	ran=$((ran + 1))
done <<<"$targets"

if [ $ran -eq 0 ]; then
	echo "fuzz: there is no target ${FUZZ-}"
	exit 1
fi
echo "fuzz: $ran targets, no finding"
