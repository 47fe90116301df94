# FiberLB. `make help` lists the targets.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build

GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.13.1
GOBGP := github.com/osrg/gobgp/v3/cmd

BINARIES := $(foreach b,fiberctl fiberlb-controller fiberlb-dataplane fiberlb-bgpagent fiberlb-dev,$(if $(wildcard cmd/$(b)/*.go),$(b)))

# Where goroutines share state; the pure packages have none.
RACED := $(foreach d,controlplane dataplane bgpagent pkg/adminhttp pkg/backoff pkg/snapshot pkg/sysnotify pkg/tlsid,$(if $(wildcard $(d)),./$(d)/...))
# The race detector links C.
CC_FOUND := $(shell command -v "$$(go env CC)")

BENCHED = $(shell grep -rl --include='*_test.go' '^func Benchmark' . | xargs -r -n1 dirname | sort -u)

.PHONY: build
build: ## build FiberLB's binaries, gobgpd and gobgp into bin/
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -o bin/ $(addprefix ./cmd/,$(BINARIES)) $(GOBGP)/gobgpd $(GOBGP)/gobgp

.PHONY: tools
tools:
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/fiberctl ./cmd/fiberlb-dev

.PHONY: dev
dev: tools ## run everything in one process until interrupted
	exec bin/fiberlb-dev $(ARGS)

.PHONY: demo
demo: tools ## show traffic, weights, the loss of a backend and of the controller; fails unless all it showed was right
	exec bin/fiberlb-dev --demo $(ARGS)

.PHONY: test
test: deps ## run all tests, then those with shared state under the race detector
	go test -timeout 10m ./...
ifneq ($(CC_FOUND),)
	CGO_ENABLED=1 go test -race -timeout 15m $(RACED)
else
	@echo "test: NO C COMPILER: the tests were not run under the race detector" >&2
endif

.PHONY: check
check: ## check format, vet, lint and go.mod
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "not formatted (make fmt):"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go mod tidy -diff
	go run $(GOLANGCI_LINT) run

.PHONY: deps
deps: ## install the system packages that the tests need (as root on Debian), or name what is missing
	@test/deps/install.sh

.PHONY: generate
generate: ## generate Go from proto/ and its digest (needs protoc)
	proto/generate.sh

.PHONY: golden
golden: ## write the binaries' lists of modules that test/arch compares
	go test ./test/arch -run TestModules -update

.PHONY: bench
bench: ## measure how a change reaches traffic, and run the benchmarks of the packages
	go test -run '^$$' -bench ApplyToTraffic -benchtime 1000x -timeout 20m ./test/bench
	go test -run '^$$' -bench . -benchmem -timeout 60m $(filter-out ./test/bench,$(BENCHED))

.PHONY: fmt
fmt: ## format Go
	gofmt -w .

.PHONY: clean
clean: ## remove what build made
	rm -rf bin

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
