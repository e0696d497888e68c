#!/usr/bin/env bash
# Everything that CI checks: the tools, the binary, lint, the Go tests under
# the race detector, and the Node and Chromium tests against the binary. Each
# part runs even if one before it failed. The last line has the totals; a build
# or a lint that fails counts as one failure.
set -u
cd "$(dirname "$0")/.."
mkdir -p build
rm -f build/*.totals

scripts/setup.sh || exit 1

failed=()
part() { # name, command…
	local name=$1 start=$SECONDS
	shift
	echo "=== $name"
	"$@" || failed+=("$name")
	echo "=== $name: $((SECONDS - start)) s"
}

part build make --no-print-directory build
part lint make --no-print-directory lint
part go make --no-print-directory test-go
part node make --no-print-directory test-node

passed=0 broken=0
case " ${failed[*]-} " in *" build "*) broken=$((broken + 1)) ;; esac
case " ${failed[*]-} " in *" lint "*) broken=$((broken + 1)) ;; esac
for totals in build/go.totals build/node.totals; do
	if [ -r "$totals" ]; then
		read -r p f <"$totals"
		passed=$((passed + p)) broken=$((broken + f))
	else
		broken=$((broken + 1)) # it did not get as far as counting
	fi
done

echo
[ ${#failed[@]} -eq 0 ] || echo "failed: ${failed[*]}"
echo "$passed passed, $broken failed"
[ ${#failed[@]} -eq 0 ] && [ $broken -eq 0 ]
