# cri-wasmer: build, test, run. `make` alone prints the targets.
#
# Needs Go, gcc, make and git; `make deps` installs the rest that tests use.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

GO      ?= go
MODULE  := github.com/cri-wasmer/cri-wasmer
BIN     := $(CURDIR)/bin
LIB     := $(CURDIR)/lib
OUT     := $(CURDIR)/build
PREFIX  ?= /usr/local
DESTDIR ?=

# Version: the closest tag, else the one of internal/version with the commit.
GIT_COMMIT := $(shell git rev-parse --short=12 HEAD 2>/dev/null)
GIT_TAG    := $(shell git describe --tags --exact-match --match 'v*' 2>/dev/null)
VERSION    ?= $(GIT_TAG:v%=%)
VPKG       := $(MODULE)/internal/version
LDFLAGS    := -s -w \
  $(if $(VERSION),-X $(VPKG).version=$(VERSION)) \
  $(if $(GIT_COMMIT),-X $(VPKG).commit=$(GIT_COMMIT))
# Go refuses to build where it finds a repository that git does not want to
# read (another owner, no git): build without its stamp there.
BUILDVCS   := $(if $(GIT_COMMIT),,-buildvcs=false)
BUILDFLAGS := -trimpath $(BUILDVCS)

# Everything below comes from the module versions in go.mod.
CNI_PACKAGES := $(addprefix github.com/containernetworking/plugins/plugins/, \
  ipam/host-local main/bridge main/loopback main/ptp \
  meta/bandwidth meta/firewall meta/portmap meta/tuning)
CNI_PLUGINS := $(notdir $(CNI_PACKAGES))
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2


##@ Build

.PHONY: build
build: daemon worker verifier cni ## Build the daemon, the worker with its library, the verifier, and the CNI plugins

.PHONY: daemon
daemon: ## Build bin/cri-wasmer: pure Go, no cgo, no engine
	CGO_ENABLED=0 $(GO) build $(BUILDFLAGS) -ldflags '$(LDFLAGS)' -o $(BIN)/cri-wasmer ./cmd/cri-wasmer

# The worker finds its library by RUNPATH $ORIGIN/../lib alone: the tag turns
# off the search path that wasmer-go would add, which names the module cache.
.PHONY: worker
worker: $(LIB)/libwasmer.so ## Build bin/cri-wasmer-worker: the only cgo binary, linked to lib/libwasmer.so
	@p="$$($(GO) list -m -f '{{.Dir}}' github.com/wasmerio/wasmer-go)/wasmer/packaged"; set -x; \
	CGO_ENABLED=1 \
	CGO_CFLAGS="-O2 -g -I$$p/include" \
	CGO_LDFLAGS="-O2 -g -L$$p/lib/$(WASMER_PLATFORM) -lwasmer -Wl,-rpath,\$$ORIGIN/../lib" \
	$(GO) build $(BUILDFLAGS) -tags custom_wasmer_runtime -ldflags '$(LDFLAGS)' \
	  -o $(BIN)/cri-wasmer-worker ./cmd/cri-wasmer-worker

# A module of its own: what it needs to know signatures stays out of the daemon.
VERIFIER := cmd/cri-wasmer-verify
.PHONY: verifier
verifier: ## Build bin/cri-wasmer-verify, which judges signatures of images
	cd $(VERIFIER) && CGO_ENABLED=0 $(GO) build $(BUILDFLAGS) -ldflags '-s -w' -o $(BIN)/cri-wasmer-verify .

GOARCH = $(shell $(GO) env GOARCH)
WASMER_PLATFORM = linux-$(if $(filter arm64,$(GOARCH)),aarch64,$(GOARCH))

# go list gives no directory of a module that is not downloaded yet.
$(LIB)/libwasmer.so: go.mod
	@mkdir -p $(LIB)
	$(GO) mod download github.com/wasmerio/wasmer-go
	p="$$($(GO) list -m -f '{{.Dir}}' github.com/wasmerio/wasmer-go)/wasmer/packaged/lib/$(WASMER_PLATFORM)"; \
	strip --strip-unneeded -o $@ "$$p/libwasmer.so" && chmod 755 $@ && touch $@

# A directory as output builds all of them in one go.
.PHONY: cni
cni: ## Build the CNI plugins into bin/cni, from the version in go.mod
	@mkdir -p $(BIN)/cni
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '-s -w' -o $(BIN)/cni/ $(CNI_PACKAGES)

.PHONY: guests
guests: ## Build the guests of the tests (Go, C, Rust) into build/guests
	@$(MAKE) -C e2e/guests all OUT=$(OUT)/guests

# The set is that of e2e/images; the toolbox alone: IMAGES=toolbox.
.PHONY: images
images: guests ## Publish the toolbox and the images of critest: OCI layouts in build/images, or IMAGES_PUSH=registry/path
	@$(GO) run $(BUILDVCS) ./e2e/images/cmd/images -module $(OUT)/guests/toolbox.wasm -list \
	  $(if $(filter toolbox,$(IMAGES)),-toolbox) $(if $(IMAGES_INSECURE),-insecure) \
	  $(if $(IMAGES_PUSH),-push $(IMAGES_PUSH),-layout $(OUT)/images)

KUBERNETES := $(OUT)/kubernetes
.PHONY: kubernetes
kubernetes: ## Build the programs of Kubernetes and etcd that tests use (minutes the first time)
	@$(GO) run $(BUILDVCS) ./e2e/harness/kubebin/build -out $(KUBERNETES)

.PHONY: deps
deps: ## Install with apt-get what the tests need and is missing (as root), or say what is missing
	@bash .ci/deps

##@ Run

.PHONY: run
run: build ## Build and start the server in the foreground (needs root; flags: make run ARGS='--log-level debug')
	$(BIN)/cri-wasmer serve $(ARGS)

.PHONY: demo
demo: deps build guests ## Run a WebAssembly pod from an empty machine and show what happens (needs root)
	@$(GO) run $(BUILDVCS) ./examples/demo $(ARGS)

.PHONY: cluster
cluster: deps build guests kubernetes ## A Kubernetes cluster of one node to use with kubectl, until Ctrl-C (needs root)
	@$(GO) build $(BUILDVCS) -o $(OUT)/cluster ./e2e/cluster/cmd/cluster
	@$(OUT)/cluster $(ARGS)

##@ Test

.PHONY: test
test: deps build guests kubernetes ## Everything: lint, unit tests, end-to-end tests, skip list, one summary line
	@rm -rf $(OUT)/test && mkdir -p $(OUT)/test
	@$(MAKE) lint
	@$(GO) build -o $(OUT)/testsum ./internal/ci/testsum
	@s=0; $(MAKE) unit || s=1; $(MAKE) e2e || s=1; \
	$(OUT)/testsum report -allow e2e/allowed-skips.txt $(OUT)/test/*.json && exit $$s

UNIT ?= ./...
.PHONY: unit
unit: $(OUT)/testsum ## Unit tests with the race detector, in random order (UNIT=./some/pkg/...)
	@mkdir -p $(OUT)/test
	@$(OUT)/testsum run -out $(OUT)/test/unit.json -- \
	  $(GO) test -json -race -shuffle=on -timeout 20m $$($(GO) list $(UNIT) | grep -v '^$(MODULE)/e2e\(/\|$$\)')
	@cd $(VERIFIER) && $(OUT)/testsum run -out $(OUT)/test/verifier.json -- $(GO) test -json -shuffle=on ./...

.PHONY: e2e
e2e: $(OUT)/testsum ## End-to-end tests against the built binaries (needs root; E2E='-run Name', E2E_BODY_MIB=1024)
	@mkdir -p $(OUT)/test
	@$(OUT)/testsum run -out $(OUT)/test/e2e.json -- \
	  $(GO) test -json -count=1 -p 1 -timeout 40m $(E2E) ./e2e/...

.PHONY: kubelet-e2e
kubelet-e2e: deps build guests kubernetes $(OUT)/testsum ## All scenarios on a cluster with the real kubelet and kubectl (needs root; E2E='-run ...')
	@s=0; $(OUT)/testsum run -out $(OUT)/kubelet-e2e.json -- \
	  $(GO) test -json -count=1 -timeout 40m $(E2E) ./e2e/cluster -all -table $(CURDIR)/docs/kubernetes.md || s=1; \
	$(OUT)/testsum report -name kubelet-e2e -allow e2e/allowed-skips.txt $(OUT)/kubelet-e2e.json && exit $$s

.PHONY: kubelet-bench
kubelet-bench: deps build guests kubernetes ## Start of pods and 10 to 500 of them, by the real kubelet (needs root; BENCH=regexp)
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchtime 1x -timeout 90m ./e2e/cluster $(if $(filter .,$(BENCH)),-table $(CURDIR)/docs/kubernetes.md)

$(OUT)/testsum: internal/ci/testsum/*.go
	@mkdir -p $(OUT)
	@$(GO) build -o $@ ./internal/ci/testsum

.PHONY: e2e-vm
e2e-vm: deps build guests ## Tests on cgroup v2 with systemd, in a Debian that qemu boots (needs root and the Debian archive; ACCEL=kvm, VM_TESTS=regexp)
	@bash .ci/deps vm
	@VM_TESTS='$(VM_TESTS)' ACCEL='$(or $(ACCEL),tcg)' e2e/vm/run $(OUT)/vm

.PHONY: e2e-selinux
e2e-selinux: deps build guests ## Tests under an enforcing SELinux policy, in another such Debian (as e2e-vm)
	@bash .ci/deps vm
	@LSM=selinux VM_TESTS='$(VM_TESTS)' ACCEL='$(or $(ACCEL),tcg)' e2e/vm/run $(OUT)/vm-selinux

.PHONY: lint
lint: ## gofmt, go vet, staticcheck; that the daemon builds without cgo
	@f="$$(git ls-files -co --exclude-standard '*.go' 2>/dev/null | xargs -r "$$($(GO) env GOROOT)/bin/gofmt" -l)"; \
	if [ -n "$$f" ]; then echo "gofmt -w is needed for:" $$f >&2; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags vm ./e2e/vm/unit
	cd $(VERIFIER) && $(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	CGO_ENABLED=0 $(GO) vet ./cmd/cri-wasmer

.PHONY: wasi-conformance
wasi-conformance: ## WebAssembly/wasi-testsuite (WASI_TESTSUITE=DIR: a checkout of prod/testsuite-base)
	@test -n "$(WASI_TESTSUITE)" || { echo "WASI_TESTSUITE=DIR must name a checkout of WebAssembly/wasi-testsuite, branch prod/testsuite-base" >&2; exit 2; }
	@mkdir -p $(OUT) && $(GO) build -o $(OUT)/wasitest ./engine/wasitest
	@$(OUT)/wasitest suite "$(WASI_TESTSUITE)"

.PHONY: wasi-gostd
wasi-gostd: ## Tests of Go's standard library as guests (GOSTD='os net'; default: ten packages)
	@mkdir -p $(OUT) && $(GO) build -o $(OUT)/wasitest ./engine/wasitest
	@$(OUT)/wasitest gostd $(GOSTD)

# critest starts its parallel processes by a ginkgo, best of the version that is
# in its go.mod.
CRITEST        ?=
CRITEST_ARGS   ?=
PARALLEL       ?= 1
GINKGO_VERSION ?= v2.32.0
GINKGO         ?= $(OUT)/ginkgo/$(GINKGO_VERSION)/ginkgo
.PHONY: critest
critest: build guests ## Conformance suite of the CRI (CRITEST=PATH of critest, PARALLEL=4, CRITEST_ARGS='-ginkgo.focus X')
	@test -n "$(CRITEST)" || { echo "CRITEST=PATH must name a critest binary, of kubernetes-sigs/cri-tools" >&2; exit 2; }
	@mkdir -p $(OUT) && $(GO) build -o $(OUT)/critest ./e2e/critest
	@if [ "$(PARALLEL)" -gt 1 ] && [ ! -x "$(GINKGO)" ]; then \
	  GOBIN="$$(dirname "$(GINKGO)")" $(GO) install github.com/onsi/ginkgo/v2/ginkgo@$(GINKGO_VERSION); \
	fi
	@$(OUT)/critest -critest "$(CRITEST)" -server $(BIN)/cri-wasmer -module $(OUT)/guests/toolbox.wasm \
	  -parallel $(PARALLEL) -ginkgo "$(GINKGO)" -keep $(OUT)/critest-last -- $(CRITEST_ARGS)

BENCH ?= .
BENCHTIME ?= 1s
.PHONY: bench
bench: build guests ## Benchmarks (BENCH=regexp BENCHTIME=1s BENCHPKG=./...), and without BENCHPKG those beside other hosts
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -benchmem -p 1 -timeout 60m $(or $(BENCHPKG),./...)
	@$(if $(BENCHPKG),,$(MAKE) bench-hosts)

# The other hosts are a module of their own: bench/go.mod.
ROUNDS ?= 3
.PHONY: bench-hosts
bench-hosts: guests $(OUT)/guests/sqlite-c.wasm $(OUT)/natives/bench-c $(OUT)/natives/sqlite-c ## The same guests under our engine and host, wazero, wasmtime, and without (ROUNDS=3 ONLY=files)
	@$(GO) build -o $(OUT)/wasitest ./engine/wasitest
	@cd bench && $(GO) build -o $(OUT)/bench .
	@$(OUT)/bench -guests $(OUT)/guests -natives $(OUT)/natives -wasitest $(OUT)/wasitest -rounds $(ROUNDS) $(if $(ONLY),-only $(ONLY))

SQLITE := github.com/mattn/go-sqlite3
$(OUT)/guests/sqlite-c.wasm: TARGET := --target=wasm32-wasi -O2 -D_WASI_EMULATED_MMAN -lwasi-emulated-mman
$(OUT)/natives/sqlite-c: TARGET := -O3 -lm
$(OUT)/guests/sqlite-c.wasm $(OUT)/natives/sqlite-c: bench/guest/sqlite.c bench/go.mod
	@mkdir -p $(@D)
	cd bench && $(GO) mod download $(SQLITE)
	d="$$(cd bench && $(GO) list -m -f '{{.Dir}}' $(SQLITE))"; \
	clang -w -DSQLITE_THREADSAFE=0 -DSQLITE_OMIT_LOAD_EXTENSION -I"$$d" -o $@ bench/guest/sqlite.c "$$d/sqlite3-binding.c" $(TARGET)

$(OUT)/natives/bench-c: e2e/guests/c/bench.c
	@mkdir -p $(@D)
	clang -O3 -o $@ $<

.PHONY: compare
compare: build guests ## This runtime beside containerd and runc (CRI_PEER=DIR with their binaries; ARGS='-rows regexp -effort 0.5')
	@test -n "$(CRI_PEER)" || { echo "CRI_PEER=DIR must name a directory with containerd, containerd-shim-runc-v2 and runc" >&2; exit 2; }
	@mkdir -p $(OUT) && $(GO) build $(BUILDVCS) -o $(OUT)/compare ./e2e/compare
	@$(OUT)/compare -peer "$(CRI_PEER)" $(ARGS)

KILLS ?= 200
.PHONY: store-kill
store-kill: build guests ## Kill the server KILLS times while it pulls, compiles and removes images (default 200)
	STORE_KILLS=$(KILLS) $(GO) test -count=1 -timeout 60m -v -run 'TestKilledStoreStaysWhole' ./e2e

# Inputs that are found are made smaller for a minute each unless that is bounded,
# during which nothing new is tried.
FUZZTIME ?= 20s
.PHONY: fuzz
fuzz: ## Every fuzz test for FUZZTIME each (default 20s; FUZZPKG=./...)
	@for pkg in $$($(GO) list $(or $(FUZZPKG),./...)); do \
	  for f in $$($(GO) test -run '^$$' -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "== $$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$pkg; \
	  done; \
	done

##@ Install

LIBEXEC := $(DESTDIR)$(PREFIX)/libexec/cri-wasmer
UNITDIR ?= $(PREFIX)/lib/systemd/system
COMPLETIONS := $(DESTDIR)$(PREFIX)/share/bash-completion/completions
SHARE := $(DESTDIR)$(PREFIX)/share/cri-wasmer
# What is built is installed as it is: under sudo there may be no Go in the path,
# and what root builds belongs to root.
.PHONY: install
install: $(if $(wildcard $(BIN)/cri-wasmer),,build) ## Install what make build built below PREFIX (default /usr/local; DESTDIR honoured), with the systemd unit
	install -d $(DESTDIR)$(PREFIX)/bin $(LIBEXEC)/bin/cni $(LIBEXEC)/lib $(DESTDIR)$(UNITDIR) $(COMPLETIONS)
	install -m 755 $(BIN)/cri-wasmer $(DESTDIR)$(PREFIX)/bin/cri-wasmer
	install -m 755 $(BIN)/cri-wasmer-worker $(LIBEXEC)/bin/cri-wasmer-worker
	install -m 755 $(BIN)/cri-wasmer-verify $(LIBEXEC)/bin/cri-wasmer-verify
	install -m 755 $(LIB)/libwasmer.so $(LIBEXEC)/lib/libwasmer.so
	install -m 755 $(addprefix $(BIN)/cni/,$(CNI_PLUGINS)) $(LIBEXEC)/bin/cni/
	sed 's|@BINDIR@|$(PREFIX)/bin|g' deploy/cri-wasmer.service > $(DESTDIR)$(UNITDIR)/cri-wasmer.service
	chmod 644 $(DESTDIR)$(UNITDIR)/cri-wasmer.service
	$(BIN)/cri-wasmer completion bash > $(COMPLETIONS)/cri-wasmer
	chmod 644 $(COMPLETIONS)/cri-wasmer
	install -d $(SHARE)/selinux
	install -m 644 deploy/selinux/cri-wasmer.cil $(SHARE)/selinux/cri-wasmer.cil
	@$(BIN)/cri-wasmer version

.PHONY: uninstall
uninstall: ## Remove what install put there (state in /var/lib/cri-wasmer stays)
	rm -f $(DESTDIR)$(PREFIX)/bin/cri-wasmer $(DESTDIR)$(UNITDIR)/cri-wasmer.service $(COMPLETIONS)/cri-wasmer
	rm -rf $(LIBEXEC) $(SHARE)

.PHONY: clean
clean: ## Remove everything that make built
	rm -rf $(BIN) $(LIB) $(OUT)

.PHONY: help
help: ## This list
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z0-9-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
