#!/usr/bin/env bash
# Runs everything that CI checks: the tools, the binary, lint, the Go tests under the
# race detector, and the Node and Chromium tests against the binary. They run in
# parallel, because they spend much of their time waiting. A part runs even if an
# earlier one failed, and its output appears when it ends. The last line shows the
# totals; a failed build or lint counts as one failure.
set -u
cd "$(dirname "$0")/.."
mkdir -p build
rm -f build/*.totals build/*.failed

scripts/setup.sh || exit 1

part() { # name, targets of make…
	local name=$1 start=$SECONDS
	shift
	make --no-print-directory "$@" >"build/$name.log" 2>&1 || touch "build/$name.failed"
	echo "=== $name: $((SECONDS - start)) s"
	cat "build/$name.log"
}

part lint lint &
part build build
part node test-node &
part go test-go
part redis test-redis
wait

passed=0 broken=0
for part in build lint; do
	[ ! -e build/$part.failed ] || broken=$((broken + 1))
done
for part in go redis node; do
	if [ -r build/$part.totals ]; then
		read -r p f <build/$part.totals
		passed=$((passed + p)) broken=$((broken + f))
	else
		broken=$((broken + 1)) # it failed before it could count
	fi
done

echo
failed=$(cd build && ls -- *.failed 2>/dev/null | sed 's/\.failed$//' | paste -sd' ')
[ -z "$failed" ] || echo "failed: $failed"
echo "$passed passed, $broken failed"
[ -z "$failed" ] && [ $broken -eq 0 ]
