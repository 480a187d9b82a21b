# The developer's whole interface; `make help` lists it.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help setup fmt lint test bench bench-long quality faults leases chaos sim demo lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

# What is imported is compiled once and kept, whatever the environment says of it: a process that compiles takes seconds
# longer to start, and tests start many. Compiling all that is installed would take longer than what is used of it.
export PYTHONDONTWRITEBYTECODE :=

.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# Real gateways for the tests of the gate's adapters; their pins clash with ours.
.venv/gateways/ready: requirements-gateways.lock
	$(PYTHON) -m venv .venv/gateways
	.venv/gateways/bin/pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements-gateways.lock
	touch $@

# Quix Streams, which the benchmark runs the same job in; its pins clash with ours, too.
.venv/quix/ready: requirements-quix.lock | .venv/ready
	$(PYTHON) -m venv .venv/quix
	.venv/quix/bin/pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements-quix.lock
	touch $@

setup: .venv/ready .venv/gateways/ready  ## .venv with hash-locked dependencies and keyfuse itself

fmt: setup  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only .

lint: setup  ## formatting, ruff, mypy strict, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy .
	$(BIN)/lint-imports

# In the order of the files: xdist would begin with those of many tests and end with single ones of a minute, one of
# which then runs alone.
test: setup  ## everything that proves it (Apache Kafka tests need Java 17 and Maven)
	$(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder

bench: setup .venv/quix/ready  ## the table of docs/benchmarks.md
	$(BIN)/python -m benchmarks.run

bench-long: setup  ## its longest parts: growth of cost, half an hour of soak, and a burst of twenty times what is taken
	$(BIN)/python -m benchmarks.run --only growth --only soak --only burst

quality: setup  ## the containment benchmark: recall, seconds and USD on real arrivals (about ten minutes)
	$(BIN)/python -m benchmarks.containment.run

faults: setup  ## 10,000 orders to contain under injected faults (about two minutes)
	$(BIN)/python -m benchmarks.containment_faults

leases: setup  ## 10,000 histories of gates that share a budget, with everything going wrong (about ten minutes)
	$(BIN)/python -m benchmarks.leases.run

chaos: setup  ## a whole install on Apache Kafka, broken for eleven minutes in every way at once (needs Java 17 and Maven)
	$(BIN)/python -m benchmarks.chaos

sim: setup  ## 100,000 histories of ingest, score and archive, with everything going wrong (40 minutes of processor time: 20 on two free cores)
	$(BIN)/python -m benchmarks.sim.run

demo: setup  ## the main job on the embedded defaults, in about a minute
	$(BIN)/keyfuse demo

RESOLVE := uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-annotate --no-header

lock: setup  ## resolve the requirements*.lock again (needs uv)
	$(RESOLVE) --extra dev pyproject.toml -o requirements.lock
	$(RESOLVE) requirements-gateways.in -o requirements-gateways.lock
	$(RESOLVE) requirements-quix.in -o requirements-quix.lock

clean:  ## remove what the targets made
	rm -rf .venv .cache .keyfuse build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
