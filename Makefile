# gpufleet: every target sets up what it needs first; the second time that is instant.
STACK ?= dev-us-east-1
PYTHON ?= python3.11
EMULATOR_PORT ?= 5000
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
export EMULATOR_PORT

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev preview plan policies test lint licenses audit benchmark accuracy scaling up-local destroy-local \
	lock clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' Makefile

setup: $(VENV)/.runtime ## Make .venv with what the program needs

setup-dev: $(VENV)/.dev ## Make .venv with the test tools too

preview: setup ## Preview STACK offline: no account, no credentials, no Pulumi CLI
	@$(BIN)/gpufleet preview -s $(STACK)

plan: setup ## Show the plan of STACK
	@$(BIN)/gpufleet plan -s $(STACK)

policies: policies/.venv/.installed ## Make policies/.venv, for `pulumi preview --policy-pack policies`

test: setup-dev ## Run the tests
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: setup-dev ## Check style and types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

licenses: setup-dev policies ## Check the licences of all packages against the list in pyproject.toml
	@$(BIN)/pip-licenses --python $(BIN)/python --summary
	@$(BIN)/pip-licenses --python policies/.venv/bin/python --summary

audit: setup-dev ## Look for known vulnerabilities in the locked packages (asks the package index)
	@$(BIN)/python tools/audit.py

benchmark: setup-dev ## Measure speed, as ratios in one run
	@$(BIN)/python benchmarks/speed.py

accuracy: setup-dev ## Score the memory estimate against logs of others, into docs/accuracy.md and docs/diffusion.md
	@$(BIN)/python benchmarks/accuracy.py
	@$(BIN)/python benchmarks/accuracy_diffusion.py

scaling: setup-dev ## Replay traces under the scaling defaults, into docs/scaling.md (traces in ../shared/data/traces)
	@$(BIN)/python benchmarks/scaling.py

up-local: setup-dev ## Create STACK for real against an emulator on this machine (needs the Pulumi CLI)
	@$(BIN)/gpufleet up-local -s $(STACK)

destroy-local: setup-dev ## Destroy STACK in the emulator and stop it
	@$(BIN)/gpufleet destroy-local -s $(STACK)

LOCK := $(BIN)/pip-compile --quiet --strip-extras --generate-hashes --allow-unsafe \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-header
lock: setup-dev ## Write the locked requirements anew from pyproject.toml
	@$(LOCK) --extra build --output-file requirements.txt pyproject.toml
	@$(LOCK) --extra build --extra dev --output-file requirements-dev.txt pyproject.toml
	@$(LOCK) --output-file policies/requirements.txt policies/requirements.in

clean: ## Remove .venv and everything generated
	rm -rf $(VENV) policies/.venv .gpufleet .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found; name another with: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "Creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing what the program needs (about a minute, once)"
	@$(PIP) install --progress-bar off --require-hashes -r requirements.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q gpufleet components templates stacks
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.runtime
	@echo "Installing the test tools (once)"
	@$(PIP) install --progress-bar off --require-hashes -r requirements-dev.txt
	@touch $@

# An environment of its own: pulumi-policy and the program want different versions of protobuf.
policies/.venv/.installed: policies/requirements.txt
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found; name another with: make policies PYTHON=python3.12"; exit 1; }
	@echo "Installing what the policy pack needs (once)"
	@$(PYTHON) -m venv --clear policies/.venv
	@policies/.venv/bin/python -m pip --disable-pip-version-check install --progress-bar off --require-hashes -r policies/requirements.txt
	@touch $@
