#!/usr/bin/env bash
# Runs the official suites of Engine.IO 4 and Socket.IO 5 against tests/echo:
#
#	make conformance
#	make conformance SUITES=~/src/socket.io RUNS=1
#
# SUITES is a git repository of https://github.com/socketio/socket.io, a
# checkout or a bare one; without it, it is fetched. RUNS is how many times each
# suite runs (5), PORT where the server listens (3000).
#
# Of the 32 tests for Socket.IO three are about a namespace of one's own, which
# this server does not have, and are left out by what is common to their names,
# "custom namespace":
#
#	connect should allow connection to a custom namespace
#	connect should allow connection to a custom namespace with a payload
#	disconnect should connect then disconnect from a custom namespace
set -euo pipefail
cd "$(dirname "$0")/../.."

runs=${RUNS:-5} port=${PORT:-3000}

temp=$(mktemp -d)
server=
stop() {
	if [ -n "$server" ]; then
		kill "$server" 2>/dev/null || true
		wait "$server" 2>/dev/null || true
		server=
	fi
}
trap 'stop; rm -rf "$temp"' EXIT

# The suites, with what they need.
source=${SUITES:-}
if [ -z "$source" ]; then
	source=$temp/socket.io
	git clone --quiet --bare --depth 1 --filter=blob:none https://github.com/socketio/socket.io "$source"
fi
echo "suites of socketio/socket.io at $(git -C "$source" rev-parse --short HEAD), node $(node --version)"
fetch() { # mode, directory in the repository
	mkdir "$temp/$1"
	git -C "$source" archive "HEAD:$2" | tar -x -C "$temp/$1"
	npm ci --prefix "$temp/$1" --no-audit --no-fund --silent
	sed -i.original "s/localhost:3000/localhost:$port/" "$temp/$1/test-suite.js"
}
fetch eio docs/engine.io-protocol/v4-test-suite
fetch sio docs/socket.io-protocol/v5-test-suite

go build -race -o "$temp/echo" ./tests/echo

# Starts the server, and returns when it listens.
serve() { # mode
	stop
	rm -f "$temp/ready"
	mkfifo "$temp/ready"
	"$temp/echo" -mode "$1" -port "$port" >"$temp/ready" 2>"$temp/$1.log" &
	server=$!
	read -r _ <"$temp/ready" || { cat "$temp/$1.log" >&2; exit 1; }
}

failed=0
suite() { # mode, tests, mocha's arguments…
	local mode=$1 tests=$2 passes run
	shift 2
	serve "$mode"
	for ((run = 1; run <= runs; run++)); do
		(cd "$temp/$mode" && node_modules/.bin/mocha test-suite.js --reporter json "$@") >"$temp/report.json" || true
		passes=$(node -p 'JSON.parse(fs.readFileSync(process.argv[1])).stats.passes' "$temp/report.json") || passes=0
		echo "$mode run $run: $passes of $tests"
		[ "$passes" = "$tests" ] && continue
		failed=1
		node -e 'for (const t of JSON.parse(fs.readFileSync(process.argv[1])).failures)
			console.log(`  ${t.fullTitle}: ${t.err.message}`)' "$temp/report.json"
	done
	if [ -s "$temp/$mode.log" ]; then # a data race, for one
		cat "$temp/$mode.log"
		failed=1
	fi
}

suite eio 25
suite sio 29 --grep "custom namespace" --invert
exit $failed
