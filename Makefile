# The project's commands. `make` alone lists them. Everything is installed inside this folder by `make setup`.
SHELL := /bin/sh
# The first Python of 3.11 to 3.13 (the versions that every locked package has wheels for), else python3, whatever it is.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do $$p -c \
  'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && exit; done; echo python3)
VENV := .venv/bin
UV ?= $(CURDIR)/$(VENV)/uv
export PATH := $(CURDIR)/.tools/bin:$(CURDIR)/$(VENV):$(PATH)
export SOLCX_BINARY_PATH ?= $(CURDIR)/.tools/solcx
# Bytecode that is never written is compiled at every start, of which the tests make hundreds.
unexport PYTHONDONTWRITEBYTECODE
export APE_DATA_FOLDER ?= $(CURDIR)/.tools/ape
UV_COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.DEFAULT_GOAL := help
.PHONY: help setup demo up test test-long check fmt web gas bench lighthouse compile lock lock-peers lock-web lock-lighthouse clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

setup: ## install everything the project needs into this folder (Python 3.11 or newer is enough)
	@$(PYTHON) scripts/setup.py

demo: setup ## show the main job end to end: plan, assistant, purchase, metered call, settlement
	@python scripts/demo.py

up: setup ## start the same world and leave it running, for you to play with
	@python scripts/demo.py --keep

test: setup ## check, contract tests, and every test that takes seconds
	@scripts/test

test-long: setup ## the same with long fuzzing, slow tests, slither, halmos, coverage and mutants
	@scripts/test long

check: setup ## formatter, linters and types, on Python and Solidity
	@scripts/check

fmt: setup ## format Python and Solidity
	@ruff check --fix-only --quiet . && ruff format --quiet . && forge fmt
	@[ ! -d web/node_modules ] || (cd web && node_modules/.bin/biome check --write --log-level=error .)

web: setup ## build the console, web/, into node_proxy/web/static/
	@python scripts/setup.py web && cd web && npm run --silent build

compile: setup ## compile contracts/ into nvm_chain/artifacts/
	@python scripts/compile_contracts.py

gas: setup ## measure the contracts' gas and compare with bench/gas/
	@python -m bench.gas.run

bench: setup ## measure the relay's speed and what it adds
	@python -m bench.run
	@python -m bench.plot

lighthouse: setup ## measure the console's pages: speed, weight and accessibility
	@python scripts/setup.py lighthouse && python -m bench.lighthouse.run

lock: ## write requirements/*.lock and package-lock.json anew, from pyproject.toml and package.json
	@test -x $(UV) || $(PYTHON) scripts/setup.py
	cd requirements && for name in uv node build slither halmos; do $(UV_COMPILE) $$name.in -o $$name.lock $(LOCK) || exit 1; done
	$(UV_COMPILE) pyproject.toml --group dev -o requirements/dev.lock $(LOCK)
	$(UV_COMPILE) pyproject.toml --constraints requirements/dev.lock -o requirements/runtime.lock $(LOCK)
	npm install --package-lock-only --ignore-scripts --loglevel=warn

lock-peers: ## the same for tests/peers/package-lock.json
	cd tests/peers && npm install --package-lock-only --ignore-scripts --loglevel=warn

lock-web: ## the same for web/package-lock.json
	cd web && npm install --package-lock-only --ignore-scripts --loglevel=warn

lock-lighthouse: ## the same for bench/lighthouse/package-lock.json
	cd bench/lighthouse && npm install --package-lock-only --ignore-scripts --loglevel=warn

clean: ## remove everything that was built or installed
	rm -rf .venv .tools node_modules tests/peers/node_modules web/node_modules bench/lighthouse/node_modules build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
