# What people type. Everything here works on a fresh clone: each target makes what it needs first.

PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && \
	command -v $$p && break; done)
BIN := .venv/bin
PYTEST_ARGS ?=
SEEDS ?= 50
SIMULATE_ARGS ?= --kind all --seeds $(SEEDS) --shorten

.PHONY: help install demo demo-clean test check bench simulate clean

help:
	@echo 'make install     a .venv with everything, .venv/bin/moor'
	@echo 'make demo        a load-balanced service of real containers, from nothing, in about a minute'
	@echo 'make demo-clean  takes the demo down again'
	@echo 'make test        every test (those marked docker need a Docker engine)'
	@echo 'make check       ruff, mypy --strict, the layers, no clock in decide/'
	@echo 'make bench       the benchmarks: ratios measured in one run'
	@echo 'make simulate    the simulated world: random stories, invariants after every step (SEEDS=1000: so many of each kind)'
	@echo 'make clean       removes .venv and caches'

install: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	@scripts/make-venv "$(PYTHON)"
	@touch $@

demo: install
	@scripts/ensure-docker
	@scripts/demo

demo-clean: install
	@scripts/demo clean

test: install
	@scripts/ensure-docker
	$(BIN)/pytest $(PYTEST_ARGS)

check: install
	$(BIN)/ruff check src tests examples benchmarks scripts
	$(BIN)/ruff format --check src tests examples benchmarks scripts
	$(BIN)/mypy --strict
	$(BIN)/lint-imports
	$(BIN)/python scripts/no_clock.py src/moorage/decide

bench: install
	@scripts/ensure-docker
	@$(BIN)/python benchmarks

simulate: install
	$(BIN)/python -m moorage.simulation.run $(SIMULATE_ARGS)

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
