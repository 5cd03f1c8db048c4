# Everything a newcomer types. Each target works alone on a fresh clone.
.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
# The machine's uv if it is that one.
UV := $(if $(filter $(UV_VERSION),$(word 2,$(shell uv --version 2>/dev/null))),$(shell command -v uv),.tools/bin/uv)

.PHONY: help train test test-slow check docs lock bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

train: $(VENV)/.installed ## set up, get MNIST, train the metaplastic network on permuted MNIST (m = 1.3)
	$(BIN)/python src/train.py strategy=meta m=1.3 scenario=pmnist

test: $(VENV)/.installed ## set up, then check the code and run the quick tests
	$(MAKE) --no-print-directory check
	$(BIN)/python -m pytest -n auto

test-slow: $(VENV)/.installed ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

check: $(VENV)/.installed ## formatting, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.installed ## the documentation as a site, in build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

bench: $(VENV)/.installed ## measure speed against Avalanche's own loop, in one run
	$(BIN)/python scripts/bench.py

lock: $(UV) ## pin the newest versions that pyproject.toml admits, with hashes and without addresses
	$(UV) pip compile pyproject.toml --group dev --group docs --generate-hashes --universal --python-version 3.11 --no-annotate --no-header --quiet -o requirements.lock --upgrade
	echo 'uv==$(UV_VERSION)' | $(UV) pip compile - --generate-hashes --universal --no-annotate --no-header --quiet -o uv.lock.txt

clean: ## remove the environment, keep data and outputs
	rm -rf $(VENV) .tools

# Bytecode is made here and now (half a minute): imports take 7 s with it and 17 without, in each of many processes.
$(VENV)/.installed: requirements.lock pyproject.toml | $(UV)
	test -x $(BIN)/python || $(UV) venv --python '>=3.11,<3.14' $(VENV)
	$(UV) pip sync --require-hashes --compile-bytecode --python $(BIN)/python requirements.lock
	$(UV) pip install --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

# uv is installed with pip, apart from the environment, where the machine has none of this version.
.tools/bin/uv: uv.lock.txt
	python3 -m venv .tools
	.tools/bin/python -m pip install --quiet --require-hashes -r uv.lock.txt
	touch $@
