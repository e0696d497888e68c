# make run: the whole thing on this machine. make test: everything that CI
# checks. DEVELOPERS.md says more.

MODULE := github.com/seed-c079cc48/caddy-realtime
# The Caddy that is built is the one that go.mod requires.
CADDY := $(shell awk '$$1 == "github.com/caddyserver/caddy/v2" {print $$2}' go.mod)
TOOL := go tool -modfile=tools/go.mod

SOURCES := $(shell find . \( -path ./bench -o -name node_modules -o -name build -o -name run -o -name '.?*' \) -prune \
	-o -type f \( -name '*.go' ! -name '*_test.go' -o -path './portal/*' -o -name openapi.yaml \) -print) go.mod go.sum tools/go.mod
NODE_MODULES := $(addsuffix /node_modules/.package-lock.json,tests tests/clients examples)

# What the tests run: build/caddy, or build/caddy-race.
CADDY_BIN ?= build/caddy

.PHONY: build run test test-go test-node network clock fuzz soak stress lint fmt conformance bench clean

build: build/caddy

# "@v0.0.0" keeps xcaddy from asking the network which versions exist, and with
# Go's own cache for the first proxy it asks for nothing that is there: that took
# most of a build's time.
XCADDY := GOPROXY="file://$$(go env GOMODCACHE)/cache/download,$$(go env GOPROXY)" $(TOOL) xcaddy

build/caddy: $(SOURCES)
	@mkdir -p $(@D)
	$(XCADDY) build $(CADDY) --with $(MODULE)@v0.0.0=. --output $@

# The same with the race detector: make build/caddy-race test-node CADDY_BIN=build/caddy-race
build/caddy-race: $(SOURCES)
	@mkdir -p $(@D)
	XCADDY_RACE_DETECTOR=1 $(XCADDY) build $(CADDY) --with $(MODULE)@v0.0.0=. --output $@

# With a keystore and a broker of another Go module, as others write them.
build/caddy-guests: $(SOURCES) $(wildcard tests/guests/*.go) tests/guests/go.mod
	@mkdir -p $(@D)
	$(XCADDY) build $(CADDY) --with $(MODULE)@v0.0.0=. --with guests.example@v0.0.0=./tests/guests --output $@

%/node_modules/.package-lock.json: %/package.json %/package-lock.json
	npm ci --prefix $* --no-audit --no-fund
	@touch $@

run: build/caddy examples/node_modules/.package-lock.json
	@exec node examples/demo.mjs

test:
	@exec scripts/test.sh

# One package: make test-go PACKAGES=./hub. The one that takes longest is first:
# the others run beside it.
PACKAGES ?= ./tests/stress ./...
test-go: $(CADDY_BIN)
	CADDY_BIN=$(abspath $(CADDY_BIN)) node scripts/gotest.mjs $(PACKAGES)

# One file: make test-node FILES=tests/reload.test.mjs
FILES ?= $(wildcard tests/*.test.mjs)
test-node: $(CADDY_BIN) build/caddy-guests $(NODE_MODULES)
	CADDY_BIN=$(abspath $(CADDY_BIN)) node scripts/nodetest.mjs $(FILES)

# Clients over packets that are lost, late, doubled and out of order, in network
# namespaces: Linux, as root.
network: $(CADDY_BIN) tests/node_modules/.package-lock.json
	go test -c -tags network -o build/network.test ./tests/stress
	cd tests/stress && CADDY_BIN=$(abspath $(CADDY_BIN)) unshare --net ../../build/network.test -test.v -test.run 'Lossy|VanishedPeers'

# The stress tests at length: what make test does of them in two minutes takes
# some twenty. Other flags of go test: make stress STRESSFLAGS='-run Killed'
STRESSFLAGS ?=
stress: $(CADDY_BIN)
	STRESS=1 CADDY_BIN=$(abspath $(CADDY_BIN)) go test -race -count=1 -timeout=90m $(STRESSFLAGS) ./tests/stress

# Each fuzz target for FUZZTIME, until one finds something. FUZZ=<regexp> is for
# some of them, FUZZFLAGS are more flags of go test.
FUZZTIME ?= 1m
FUZZ ?= .
FUZZFLAGS ?=
fuzz:
	@FUZZTIME='$(FUZZTIME)' FUZZ='$(FUZZ)' scripts/fuzz.sh $(FUZZFLAGS)

# Clients that come, listen, move and go for SOAK, with reloads, revocations and
# those who stall, and an account of every delivery.
SOAK ?= 1h
soak: $(CADDY_BIN)
	STRESS=1 CADDY_BIN=$(abspath $(CADDY_BIN)) go test ./tests/stress -run '^TestSoak$$' -v -count=1 -timeout=0 -args -soak $(SOAK)

lint:
	@exec scripts/lint.sh

fmt:
	$(TOOL) golangci-lint fmt
	go mod tidy

# The official protocol suites, fetched and run; not committed. SUITES=<repository>
# takes them from there, RUNS=<n> is how often.
conformance:
	@exec tests/conformance/run.sh

# The wall clock is set ahead and back under a running Caddy, not on the machine.
# To compile that Caddy takes some minutes.
clock:
	scripts/clock.sh
	CADDY_BIN=$(abspath build/caddy-clock) go test -tags clock -run Clock -v ./tests/stress

# What is measured and how: bench/README.md. BENCH='-h' has the flags.
BENCH ?=
bench: build/caddy bench/node/node_modules/.package-lock.json
	cd bench && go build -o ../build/bench .
	@exec build/bench $(BENCH)

clean:
	rm -rf build run $(dir $(NODE_MODULES)) bench/node/node_modules
