# Every target sets up what it needs, once: a fresh Debian 12 with git, make and python3 is enough.
# `make` alone lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Open vSwitch, Mininet and network namespaces need root; nothing else does.
SUDO   := $(if $(filter 0,$(shell id -u)),,sudo)
# VMOC, its workers and the tests start in half the time where compiled bytecode is kept; whoever runs this may have switched that off.
export PYTHONDONTWRITEBYTECODE :=
# What sudo runs must leave no root-owned caches in the work tree.
AS_ROOT := $(SUDO) env PATH="$$PATH" $(if $(SUDO),PYTHONDONTWRITEBYTECODE=1)
# Tests at a time: many of them wait for processes and timers most of their time.
JOBS   ?= $(shell echo $$((3 * $$(nproc))))
# Virtual machines without hardware support and Ansible wait for a processor only.
BUSY_JOBS ?= $(shell echo $$((2 * $$(nproc))))
# Real processes on a machine that others use: what failed is tried once more, and shown with its reason.
AGAIN  ?= --reruns 1 --rerun-show-tracebacks
# Extra arguments: make test PYTEST="-k framing", make run RUN="-c lab.yaml", make bench BENCH="--quick".
PYTEST ?=
RUN    ?=
BENCH  ?=
FUZZ   ?=
SOAK   ?=
DEMO   ?=
SCENARIO ?=

SOURCES := vmoc tests $(wildcard am_bridge bench fuzz mininet_scenarios)
PROTOS  := $(shell find proto -name '*.proto')
PROTO   := build/.proto
FAST    := not ovs and not mininet
ROOT    := ovs or mininet
# What judges the hot modules by what goes in and comes out: in the form the service has here, and as sources by `coverage`.
HOT     := $(addprefix tests/,golden vectors property fuzz $(addprefix vmoc/,openflow policy mux))
FORM     = $$($(BIN)/vmoc --version | grep -q '(compiled)' && echo 0 || echo 1)
PARALLEL = $(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(AGAIN)
# Of several runs one may find nothing of what PYTEST picks.
PICKED   = $(PYTEST) $(if $(PYTEST),|| [ $$? -eq 5 ])
UNIT_ONLY := $(addprefix --ignore=tests/,loopback vectors fuzz emulation bench)

.PHONY: help demo demo-rack scenarios test test-fast test-unit test-ovs coverage lint format bench soak fuzz run proto setup clean switch-tools machine-tools compiler native

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) proto switch-tools ## two experimenters on real Open vSwitch switches, checked line by line (root, under 90 s)
	@$(AS_ROOT) $(BIN)/python -m mininet_scenarios.demo $(DEMO)

demo-rack: $(READY) proto switch-tools ## a GRAM rack and an aggregate manager that fills it, checked line by line (root)
	@$(AS_ROOT) $(BIN)/python -m mininet_scenarios.gram $(DEMO)

scenarios: $(READY) proto switch-tools ## short stories on Mininet networks (root); one: make scenarios SCENARIO=ring
	@$(AS_ROOT) $(BIN)/python -m mininet_scenarios.scenarios $(SCENARIO)

test: test-unit test-ovs ## every test (the Open vSwitch and Mininet ones need root)

test-fast: $(READY) proto compiler ## the tests that need neither root nor much time (under 60 s)
	$(BIN)/python -m pytest -n $(JOBS) -m '$(FAST) and not slow' $(UNIT_ONLY) $(PYTEST)

test-unit: $(READY) proto native ## every test that needs no root
	$(PARALLEL) -m '$(FAST)' $(addprefix --ignore=,$(HOT)) $(PICKED)
	VMOC_PURE=$(FORM) $(PARALLEL) -m '$(FAST)' $(HOT) $(PICKED)
	VMOC_PURE=1 $(BIN)/python -m pytest $(AGAIN) -m '$(FAST) and interpreted' $(HOT) $(PICKED)

test-ovs: $(READY) proto native switch-tools machine-tools ## the Open vSwitch and Mininet tests, each in a network namespace (root)
	$(AS_ROOT) $(BIN)/python -m pytest -n $(BUSY_JOBS) --dist loadgroup $(AGAIN) -p no:cacheprovider -m '$(ROOT)' $(PYTEST)

coverage: $(READY) ## lines and branches of the pure packages, each from its own tests; 95 % at least
	$(BIN)/python scripts/coverage

lint: $(READY) proto ## ruff, mypy --strict and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(READY) ## let ruff format and repair what it can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: $(READY) proto native ## throughput, latency, CPU, memory, fairness, growth: tables, JSON, plots (half an hour)
	$(BIN)/python -m bench.suite $(BENCH)

soak: $(READY) proto native ## half an hour of everything at once: no leak, no lost answer; SOAK="--seconds 600"
	$(BIN)/python -m bench.soak $(SOAK)

fuzz: $(READY) proto ## look for trouble on every core for FUZZ_SECONDS (600); findings go to build/fuzz
	$(BIN)/python -m fuzz run --jobs "$$(nproc)" $(FUZZ)

run: $(READY) proto ## the service in the foreground; RUN="-c FILE" for a configuration
	@$(BIN)/vmoc run $(RUN)

proto: $(PROTO) ## generate the Python code of the API from proto/

$(PROTO): $(READY) scripts/generate-proto $(PROTOS)
	@PYTHON=$(BIN)/python scripts/generate-proto
	@touch $@

setup: $(READY) proto switch-tools machine-tools native ## everything the other targets would set up

$(READY): pyproject.toml constraints.txt
	@PYTHON='$(PYTHON)' scripts/setup-apt python
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing the Python packages into $(VENV) ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

switch-tools:
	@scripts/setup-apt switch

machine-tools: $(READY)
	@scripts/setup-apt machine
	@$(BIN)/python tests/ovs/handlers/guest/build.py build/guest

compiler:
	@scripts/setup-apt compiler

native: $(READY) compiler ## compile the hot modules, if their sources have changed; without, VMOC runs the sources
	@PYTHON=$(BIN)/python scripts/setup-apt headers || true
	@$(BIN)/python scripts/build-native
	@$(BIN)/python -m compileall -q vmoc am_bridge bench mininet_scenarios

clean: ## remove the environment and everything built, cached or left behind
	rm -rf $(VENV) build dist bench/build *.egg-info htmlcov .coverage .coverage.*
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . \( -name '*_pb2.py' -o -name '*_pb2.pyi' -o -name '*_pb2_grpc.py' \) -delete
