# Everything goes through the environment in .venv, which is built from requirements.lock (hash-checked).
# `make help` lists the targets.

PYTHON ?= python3.11
SHELL := /bin/bash
BIN := .venv/bin
STAMP := .venv/.installed
export NOCTURNE_HOME ?= $(CURDIR)/var

.DEFAULT_GOAL := help
.PHONY: help demo test check bench client leaks faults lock lock-check format clean run doctor

help: ## list the targets
	@grep -E '^[a-z.-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.venv: $(STAMP) ## build the environment alone

# The stamp is written last, so that a half-built environment is built again; it depends on the lock.
$(STAMP): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: install Python 3.11 or pass PYTHON=/path/to/python3.11"; exit 2; }
	@echo "building .venv from requirements.lock (about 2 GB; minutes the first time)"
	@$(PYTHON) -m venv --clear .venv
	@awk '/^uv==/ {p = 1} p {print} p && !/\\$$/ {exit}' requirements.lock > .venv/bootstrap.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r .venv/bootstrap.txt
	@$(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes --python $(BIN)/python requirements.lock
	@$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
	@touch $(STAMP)

demo: $(STAMP) ## tonight's run on the S&P 500 1999-2018: search, leaderboard, gate, registry, report
	@$(BIN)/nocturne run sp500-volatility

run: $(STAMP) ## make run PROBLEM=sp500-direction ARGS="--budget nightly"
	@$(BIN)/nocturne run $(PROBLEM) $(ARGS)

doctor: $(STAMP) ## is everything here that a night needs?
	@$(BIN)/nocturne doctor

test: $(STAMP) ## the whole test suite
	@$(BIN)/python -m pytest -n auto --dist loadfile

check: $(STAMP) lock-check ## lint, types, the rules of the house, the lock
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(STAMP) ## benchmarks as a table of ratios
	@$(BIN)/python -m tests.benchmarks

client: $(STAMP) ## the wheel that consumers install, into dist/
	@$(BIN)/python -m deployments.client

leaks: $(STAMP) ## plant every leak in real bars and show which defence catches it
	@$(BIN)/python -m tests.leaks

faults: $(STAMP) ## inject every fault and bad input and show what happened
	@$(BIN)/python -W ignore -m tests.faults

lock: $(STAMP) ## resolve pyproject.toml anew into requirements.lock
	@$(BIN)/uv pip compile --quiet --upgrade $(LOCK_OPTIONS) --output-file requirements.lock pyproject.toml > /dev/null

LOCK_OPTIONS := --extra engines --extra backtest --extra signing --extra monitor --extra postgres --extra vendors --extra cluster --extra dev --generate-hashes --no-emit-index-url --no-annotate --no-header --python-version 3.11

# Compiling over the present lock changes it only where pyproject.toml asks for something that the lock does not hold.
lock-check: $(STAMP)
	@cp requirements.lock .venv/checked.lock
	@$(BIN)/uv pip compile --quiet $(LOCK_OPTIONS) --output-file .venv/checked.lock pyproject.toml > /dev/null
	@diff requirements.lock .venv/checked.lock > /dev/null || { echo "requirements.lock does not match pyproject.toml: run 'make lock'"; exit 1; }
	@echo "requirements.lock matches pyproject.toml"

format: $(STAMP) ## format the code
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

clean: ## remove the environment (the state in var/ stays)
	rm -rf .venv
