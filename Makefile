# make run starts the demo on this machine. make test checks everything that CI
# checks. DEVELOPERS.md has more.

MODULE := github.com/seed-c079cc48/caddy-realtime
# Build the Caddy version that go.mod requires.
CADDY := $(shell awk '$$1 == "github.com/caddyserver/caddy/v2" {print $$2}' go.mod)
TOOL := go tool -modfile=tools/go.mod

SOURCES := $(shell find . \( -path ./bench -o -name node_modules -o -name build -o -name run -o -name '.?*' \) -prune \
	-o -type f \( -name '*.go' ! -name '*_test.go' -o -name '*.lua' -o -path './portal/*' -o -name openapi.yaml \) -print) go.mod go.sum redis/go.mod redis/go.sum tools/go.mod
NODE_MODULES := $(addsuffix /node_modules/.package-lock.json,tests tests/clients examples examples/orders)

# The binary under test: build/caddy or build/caddy-race.
CADDY_BIN ?= build/caddy

.PHONY: build run test test-go test-redis test-node network clock fuzz soak stress recovery restart tokens presence webhooks machines cluster lint fmt conformance bench clean

build: build/caddy

# "@v0.0.0" keeps xcaddy from asking the network which versions exist. With Go's own
# cache as the first proxy, it downloads only what is missing: downloads took most of
# the build time.
XCADDY := GOPROXY="file://$$(go env GOMODCACHE)/cache/download,$$(go env GOPROXY)" $(TOOL) xcaddy

build/caddy: $(SOURCES)
	@mkdir -p $(@D)
	$(XCADDY) build $(CADDY) --with $(MODULE)@v0.0.0=. --with $(MODULE)/redis@v0.0.0=./redis --output $@

# With the race detector: make build/caddy-race test-node CADDY_BIN=build/caddy-race
build/caddy-race: $(SOURCES)
	@mkdir -p $(@D)
	XCADDY_RACE_DETECTOR=1 $(XCADDY) build $(CADDY) --with $(MODULE)@v0.0.0=. --with $(MODULE)/redis@v0.0.0=./redis --output $@

# With a third-party keystore and broker from another Go module.
build/caddy-guests: $(SOURCES) $(wildcard tests/guests/*.go) tests/guests/go.mod
	@mkdir -p $(@D)
	$(XCADDY) build $(CADDY) --with $(MODULE)@v0.0.0=. --with guests.example@v0.0.0=./tests/guests --output $@

%/node_modules/.package-lock.json: %/package.json %/package-lock.json
	npm ci --prefix $* --no-audit --no-fund
	@touch $@

run: build/caddy examples/node_modules/.package-lock.json
	@exec node examples/demo.mjs

# Redis, three Caddys, and one in front: kill a machine with a key, and watch.
cluster: build/caddy examples/node_modules/.package-lock.json
	@exec node examples/cluster/cluster.mjs

test:
	@exec scripts/test.sh

# One package: make test-go PACKAGES=./hub. The slowest package starts first, so that
# the others run in parallel with it.
PACKAGES ?= ./tests/stress ./...
test-go: $(CADDY_BIN)
	CADDY_BIN=$(abspath $(CADDY_BIN)) node scripts/gotest.mjs go . $(PACKAGES)

# The keystore and the broker in Redis are a Go module of their own.
test-redis:
	@mkdir -p build
	node scripts/gotest.mjs redis redis ./...

# One file: make test-node FILES=tests/reload.test.mjs
FILES ?= $(wildcard tests/*.test.mjs)
test-node: $(CADDY_BIN) build/caddy-guests $(NODE_MODULES)
	CADDY_BIN=$(abspath $(CADDY_BIN)) node scripts/nodetest.mjs $(FILES)

# Clients on a network that loses, delays, duplicates and reorders packets, in network
# namespaces. Requires Linux and root.
network: $(CADDY_BIN) tests/node_modules/.package-lock.json
	go test -c -tags network -o build/network.test ./tests/stress
	cd tests/stress && CADDY_BIN=$(abspath $(CADDY_BIN)) unshare --net ../../build/network.test -test.v -test.run 'Lossy|VanishedPeers'
	CADDY_BIN=$(abspath $(CADDY_BIN)) unshare --net node --test --test-reporter=spec tests/network/machines.test.mjs

# The full stress tests: make test runs a two-minute version of these twenty minutes.
# Flags of go test: make stress STRESSFLAGS='-run Killed'
STRESSFLAGS ?=
stress: $(CADDY_BIN)
	STRESS=1 CADDY_BIN=$(abspath $(CADDY_BIN)) go test -race -count=1 -timeout=90m $(STRESSFLAGS) ./tests/stress

# Runs each fuzz target for FUZZTIME and stops at the first finding. FUZZ=<regexp>
# selects targets, FUZZFLAGS are additional flags of go test.
FUZZTIME ?= 1m
FUZZ ?= .
FUZZFLAGS ?=
fuzz:
	@FUZZTIME='$(FUZZTIME)' FUZZ='$(FUZZ)' scripts/fuzz.sh $(FUZZFLAGS)

# For the duration of SOAK, clients connect, subscribe, move and leave, with reloads,
# revocations and stalling clients. Every delivery is accounted for.
SOAK ?= 1h
soak: $(CADDY_BIN)
	STRESS=1 CADDY_BIN=$(abspath $(CADDY_BIN)) go test ./tests/stress -run '^TestSoak$$' -v -count=1 -timeout=0 -args -soak $(SOAK)

# The recovery test at full size: make test runs one of a few seconds. It prints its
# seed: make recovery RECOVERY_SEED=<seed> makes the same cuts again.
recovery: $(CADDY_BIN) tests/node_modules/.package-lock.json
	RECOVERY_CLIENTS=$${RECOVERY_CLIENTS:-100} RECOVERY_DROPS=$${RECOVERY_DROPS:-30} RECOVERY_AWAY=$${RECOVERY_AWAY:-2000} \
	RECOVERY_CHANNELS=$${RECOVERY_CHANNELS:-10} CADDY_BIN=$(abspath $(CADDY_BIN)) node --test --test-reporter=spec tests/recovery.test.mjs

# Planned restarts at full size: make test runs them with 60 clients.
restart: $(CADDY_BIN) tests/node_modules/.package-lock.json
	RESTART_CLIENTS=$${RESTART_CLIENTS:-1000} RESTART_CHANNELS=$${RESTART_CHANNELS:-50} RESTART_PAUSE=$${RESTART_PAUSE:-500} \
	CADDY_BIN=$(abspath $(CADDY_BIN)) node --test --test-reporter=spec tests/restart.test.mjs

# Tokens that expire while events flow, at full size: make test runs 25 s of it.
tokens: $(CADDY_BIN) tests/node_modules/.package-lock.json
	TOKENS_CLIENTS=$${TOKENS_CLIENTS:-1000} TOKENS_LIFE=$${TOKENS_LIFE:-60} TOKENS_SECONDS=$${TOKENS_SECONDS:-600} \
	TOKENS_CHANNELS=$${TOKENS_CHANNELS:-50} TOKENS_PAUSE=$${TOKENS_PAUSE:-2000} \
	CADDY_BIN=$(abspath $(CADDY_BIN)) node --test --test-reporter=spec tests/token-expiry.test.mjs

# Presence among users with three tabs each, at full size: make test runs 15 s of it. It
# prints its seed: make presence PRESENCE_SEED=<seed> makes the same choices again.
presence: $(CADDY_BIN) tests/node_modules/.package-lock.json
	PRESENCE_USERS=$${PRESENCE_USERS:-500} PRESENCE_ROOMS=$${PRESENCE_ROOMS:-20} PRESENCE_RATE=$${PRESENCE_RATE:-30} \
	PRESENCE_SECONDS=$${PRESENCE_SECONDS:-600} PRESENCE_QUIET=$${PRESENCE_QUIET:-60} PRESENCE_RELOAD=$${PRESENCE_RELOAD:-10} \
	PRESENCE_GRACE=$${PRESENCE_GRACE:-5} PRESENCE_PING=$${PRESENCE_PING:-5} \
	CADDY_BIN=$(abspath $(CADDY_BIN)) node --test --test-reporter=spec tests/presence-crowd.test.mjs

# A receiver of webhooks that is down, at full size: make test runs one of 8 s. It prints
# its seed: make webhooks WEBHOOKS_SEED=<seed> makes the same choices again.
webhooks: $(CADDY_BIN) tests/node_modules/.package-lock.json
	WEBHOOKS_CLIENTS=$${WEBHOOKS_CLIENTS:-200} WEBHOOKS_OUTAGE=$${WEBHOOKS_OUTAGE:-300} \
	CADDY_BIN=$(abspath $(CADDY_BIN)) node --test --test-reporter=spec tests/webhook-outage.test.mjs

# Three machines with one Redis behind a load balancer: machines are killed in turns, Redis
# is killed, Redis hangs, and Sentinel fails over. At full size: make test runs a minute of it. It prints its seed:
# make machines MACHINES_SEED=<seed> makes the same choices again.
machines: $(CADDY_BIN) tests/node_modules/.package-lock.json
	MACHINES_CLIENTS=$${MACHINES_CLIENTS:-600} MACHINES_CHANNELS=$${MACHINES_CHANNELS:-30} MACHINES_RATE=$${MACHINES_RATE:-100} \
	MACHINES_KILLS=$${MACHINES_KILLS:-30} MACHINES_EVERY=$${MACHINES_EVERY:-20000} MACHINES_DOWN=$${MACHINES_DOWN:-5000} \
	MACHINES_OUTAGE=$${MACHINES_OUTAGE:-60000} MACHINES_FAILOVERS=$${MACHINES_FAILOVERS:-6} MACHINES_WITHIN=$${MACHINES_WITHIN:-10000} MACHINES_NORMAL=$${MACHINES_NORMAL:-2000} \
	CADDY_BIN=$(abspath $(CADDY_BIN)) node --test --test-reporter=spec tests/machines-kill.test.mjs

lint:
	@exec scripts/lint.sh

fmt:
	$(TOOL) golangci-lint fmt
	go mod tidy

# Fetches and runs the official protocol suites; they are not committed.
# SUITES=<repository> fetches them from there, RUNS=<n> repeats them.
conformance:
	@exec tests/conformance/run.sh

# Sets the wall clock of a running Caddy ahead and back, but not the machine's.
# Compiling that Caddy takes a few minutes.
clock: tests/node_modules/.package-lock.json
	scripts/clock.sh
	CADDY_BIN=$(abspath build/caddy-clock) go test -tags clock -run Clock -v ./tests/stress
	CADDY_BIN=$(abspath build/caddy-clock) node --test --test-reporter=spec tests/clock/machines.test.mjs

# bench/README.md describes the measurements. BENCH='-h' lists the flags.
BENCH ?=
bench: build/caddy bench/node/node_modules/.package-lock.json
	cd bench && go build -o ../build/bench .
	@exec build/bench $(BENCH)

clean:
	rm -rf build run $(dir $(NODE_MODULES)) bench/node/node_modules
