#!/usr/bin/env bash
# Runs Node test files against the binary in CADDY_BIN, and counts. As with the
# Go tests, a skipped or unfinished test is a failure. Several files run at a
# time, as they wait more than they work: JOBS is how many.
set -u
cd "$(dirname "$0")/.."
mkdir -p build

node --test --test-concurrency="${JOBS:-3}" \
	--test-reporter=spec --test-reporter-destination=stdout \
	--test-reporter=tap --test-reporter-destination=build/node.tap "$@"
status=$?

count() { awk -v key="$1" '$1 == "#" && $2 == key {n = $3} END {print n + 0}' build/node.tap; }
passed=$(count pass)
failed=$(count fail)
other=$(($(count skipped) + $(count todo) + $(count cancelled)))
[ $status -eq 0 ] || [ "$failed" -gt 0 ] || failed=1
echo "$passed $((failed + other))" >build/node.totals
[ $other -eq 0 ] || echo "node: $other tests skipped, to do or cancelled" >&2
[ $status -eq 0 ] && [ "$failed" -eq 0 ] && [ $other -eq 0 ] && [ "$passed" -gt 0 ]
