#!/usr/bin/env bash
# Checks formatting, runs static analysis and checks the project's own rules. It runs
# every check before it fails, so that one run shows all problems.
set -u
cd "$(dirname "$0")/.."

failed=0
step() { # name, command…: runs it, and fails if it fails or, for "quiet", prints
	local name=$1 output status
	shift
	output=$("$@" 2>&1)
	status=$?
	output=$(grep -v '^go: downloading ' <<<"$output")
	if [ $status -ne 0 ] || { [ "$name" != golangci-lint ] && [ -n "$output" ]; }; then
		printf 'lint: %s\n%s\n' "$name" "$output" >&2
		failed=1
	fi
}

go_files() { find . \( -name node_modules -o -name build -o -name run -o -name '.?*' \) -prune -o -type f -name '*.go' -print; }

no_assertions() {
	go_files | grep -v '_test\.go$' | xargs -r grep -nE '\.\(http\.(Hijacker|Flusher)\)' /dev/null
	return 0
}

short_files() {
	go_files | xargs -r wc -l | awk '$2 != "total" && $1 >= 500 {print $2 ": " $1 " lines"}'
}

caddy_only_in_root() {
	go_files | grep -E '^\./(access|hub|engineio|internal|keystore|manage|message|portal|presence|socketio|token|webhook)/' | grep -vE '^\./(manage|internal/(commandtest|site))/|_test\.go$' | xargs -r grep -n '"github.com/caddyserver/' /dev/null
	return 0
}

redis_linted() { (cd redis && go tool -modfile=../tools/go.mod golangci-lint run); }

formatted() {
	go_files | xargs -r go tool -modfile=tools/go.mod gofumpt -l
}

step "gofumpt: run 'make fmt'" formatted
step "go vet" go vet ./...
step "go vet of redis" go -C redis vet ./...
step "go mod tidy: run it" go mod tidy -diff
step "go mod tidy in redis: run it" go -C redis mod tidy -diff
step "the response writer is wrapped in Caddy: use http.NewResponseController" no_assertions
step "files of 500 lines and more" short_files
step "only the root, command, manage and internal/site import Caddy" caddy_only_in_root
step golangci-lint go tool -modfile=tools/go.mod golangci-lint run
step golangci-lint redis_linted

[ $failed -eq 0 ] && echo "lint: clean"
exit $failed
