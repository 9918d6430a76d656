# Everything a person does with this repository. `make help` lists it.
# Set-up needs nothing but Debian 12, root, Python 3.11 and Go; each step installs what it needs.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/argus-dev
UV := $(CACHE)/uv/bin/uv
PYTHON := .venv/bin/python
export PYTHONPATH := contract:operator:trainer:dev

.PHONY: help
help: ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

# --- set-up -------------------------------------------------------------------------------

$(UV): requirements/uv.lock
	@python3 -c 'import ensurepip' 2>/dev/null || (apt-get update -qq && apt-get install -qq -y python3-venv)
	@python3 -m venv --clear $(CACHE)/uv
	@$(CACHE)/uv/bin/pip install -q --disable-pip-version-check --require-hashes -r $<
	@touch $@

.venv/.stamp: requirements/dev.lock pyproject.toml | $(UV)
	@echo "[setup] Python environment (about 6 GB)"
	@$(UV) venv -q --allow-existing --python /usr/bin/python3 .venv
	@VIRTUAL_ENV=.venv $(UV) pip sync -q --compile-bytecode requirements/dev.lock
	@VIRTUAL_ENV=.venv $(UV) pip install -q --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: setup
setup: .venv/.stamp ## Make the Python environment in .venv

.PHONY: cluster-build
cluster-build:
	@python3 -m cluster build

.PHONY: cluster-build-api
cluster-build-api:
	@python3 -m cluster build --size api

.PHONY: ready
ready: # the environment and the cluster's programs, side by side
	@$(MAKE) -s $(if $(findstring jobserver,$(MAKEFLAGS)),,-j2) --output-sync=none .venv/.stamp cluster-build

# --- the two commands ---------------------------------------------------------------------

.PHONY: demo
demo: ready ## Train a model on a real Kubernetes, with an eviction on the way
	@$(PYTHON) dev/demo.py

.PHONY: test
test: verify ## Verify, then all tests
	@echo "[test] side by side, each told at its end: what needs no whole cluster, and what does"
	@$(MAKE) -j2 --output-sync test-parts test-cluster

.PHONY: test-parts
test-parts: # one after the other
	@$(MAKE) test-unit
	@$(MAKE) test-kills
	@$(MAKE) test-control-plane

.PHONY: test-unit
test-unit: .venv/.stamp ## Tests that need no cluster, network or GPU
	$(PYTHON) -m pytest -q -m "not cluster and not control_plane and not chaos and not kills and not soak"

.PHONY: test-kills
test-kills: .venv/.stamp ## Runs that are killed anywhere, and stores that fail, at a small size
	$(PYTHON) -m pytest -q -m "kills and not soak"

.PHONY: test-control-plane
test-control-plane: .venv/.stamp cluster-build-api ## Tests on a control plane with simulated nodes
	$(PYTHON) -m pytest -q -m control_plane tests/control_plane

.PHONY: test-cluster
test-cluster: ready ## Tests on the whole cluster (started and stopped if it is not up)
	$(PYTHON) -m pytest -q -m cluster tests/cluster

.PHONY: soak
soak: .venv/.stamp ## Long kill and crash-point runs
	$(PYTHON) -m pytest -q -m soak

.PHONY: test-gpu
test-gpu: .venv/.stamp ## Tests on a GPU (skipped where there is none)
	$(PYTHON) -m pytest -q -m gpu tests/gpu

# --- benchmarks: a table, and one JSON object as the last line; kept in benchmarks/results ---

.PHONY: bench-loader
bench-loader: .venv/.stamp ## Samples/s of the data engine against the stock loader
	@$(PYTHON) -m benchmarks.loader

.PHONY: bench-stream
bench-stream: .venv/.stamp ## First epoch from an S3 server against the same from memory
	@$(PYTHON) -m benchmarks.stream

.PHONY: bench-checkpoint
bench-checkpoint: .venv/.stamp ## What saving, stopping and resuming cost
	@$(PYTHON) -m benchmarks.checkpoint

.PHONY: bench-memory
bench-memory: .venv/.stamp ## Peak memory of a training process, and whether it keeps its budget
	@$(PYTHON) -m benchmarks.memory

.PHONY: bench-plan
bench-plan: .venv/.stamp ## Time and memory of planning 100,000 chunks
	@$(PYTHON) -m benchmarks.plan

.PHONY: bench-operator
bench-operator: .venv/.stamp cluster-build-api ## The operator at scale, beside plain Jobs
	@$(PYTHON) -m benchmarks.operator

# --- faults -------------------------------------------------------------------------------

.PHONY: faults
faults: ready ## Each fault of a real cluster during a run, as a table
	@$(PYTHON) -m benchmarks.faults

.PHONY: chaos
chaos: .venv/.stamp cluster-build-api ## What can happen to the operator and its API server, as a table
	@ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1 || (apt-get update -qq && apt-get install -qq -y --no-install-recommends faketime)
	@$(PYTHON) -m benchmarks.chaos

# --- checks -------------------------------------------------------------------------------

.PHONY: verify
verify: .venv/.stamp ## Lint, types, import directions, generated files
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy -p argus_contract -p argus_operator -p argus_trainer -p cluster -p stage
	.venv/bin/mypy dev/demo.py dev/generate.py dev/golden.py
	.venv/bin/lint-imports
	$(PYTHON) dev/generate.py --check
	.venv/bin/yamllint -s manifests charts/argus/values.yaml charts/argus/Chart.yaml

.PHONY: format
format: .venv/.stamp ## Format the code
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

.PHONY: generate
generate: .venv/.stamp ## Write the generated files (CRD)
	$(PYTHON) dev/generate.py

.PHONY: lock
lock: $(UV) ## Resolve the lock files again
	$(UV) pip compile -q --upgrade --generate-hashes --no-emit-index-url --python-version 3.11 --all-extras pyproject.toml -o requirements/dev.lock
	for extra in operator trainer; do \
	  $(UV) pip compile -q --generate-hashes --no-emit-index-url --python-version 3.11 --extra $$extra -c requirements/dev.lock pyproject.toml -o requirements/$$extra.lock; \
	done

# --- the cluster --------------------------------------------------------------------------

.PHONY: cluster-up
cluster-up: ready ## Start Kubernetes and an S3 server on this machine
	@python3 -m cluster up

.PHONY: cluster-status
cluster-status: ## Show its parts
	@python3 -m cluster status

.PHONY: cluster-down
cluster-down: ## Stop it and leave nothing behind
	@python3 -m cluster down
