# Needs make and Python >= 3.11, nothing else: the first target that runs makes .venv and installs into it.

# A name on the path is not enough: a version manager's may lead to nothing.
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3 python; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$name" && break; done)
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install dev demo lint test soak bench clean

help:  ## Show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(INSTALLED)  ## Make .venv and install Certes with all that developing it needs

$(INSTALLED): pyproject.toml
	@test -n "$(PYTHON)" || { echo "Certes needs Python >= 3.11 and finds none: install it, or call make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "installing into .venv with $(PYTHON) ..."
	@"$(PYTHON)" -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --editable '.[dev]' --group lint --group test
	@touch $@

dev: $(INSTALLED)  ## Start Kafka, registry, gateway and a worker here (more: make dev ARGS="--workers 2")
	@$(BIN)/certes dev $(ARGS)

demo: $(INSTALLED)  ## The same with sample senders and handlers and real events flowing, then a summary
	@$(BIN)/python -m certes.demos.shop

lint: $(INSTALLED)  ## ruff, mypy and the layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint  ## Lint and every test, on a real Kafka (some: make test ARGS="tests/unit")
	$(BIN)/python -m pytest -m "not soak" $(ARGS)

soak: $(INSTALLED)  ## The tests of full size: up to two hours
	$(BIN)/python -m pytest -m soak --timeout 3600 $(ARGS)

bench: $(INSTALLED)  ## Measure throughput and delay beside a bare Kafka-to-HTTP loop
	$(BIN)/python -m tests.benchmarks $(ARGS)

clean:  ## Remove .venv, caches and builds; .certes, the data of `make dev`, stays
	rm -rf .venv dist .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
