# `make demo` shows the main job; `make test` proves it. Both set up what they need in .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint types matrix faults isolation fuzz official-clients bench clean
.DEFAULT_GOAL := test

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "flagmw needs Python 3.11 or newer: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[adobe,cli,django,fastapi,flask,sandbox]' --group dev
	@touch $(READY)

demo: $(READY)
	@$(BIN)/python integrations/demo.py $(if $(SERVE),--serve)

test: $(READY)
	$(BIN)/python -m pytest $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

matrix: $(READY)
	@$(BIN)/python -m tests.matrix.run

# The long forms: make faults ARGS="--requests 100000", make isolation ARGS="--requests 1000000",
# make fuzz ARGS="--inputs 1000000".
faults: $(READY)
	@$(BIN)/python -m tests.faults.run $(ARGS)

isolation: $(READY)
	@$(BIN)/python -m tests.isolation.run $(ARGS)

fuzz: $(READY)
	@$(BIN)/python -m fuzz.run $(ARGS)

# Adobe's own clients (Node and Python) judge the sandbox and the codec; the first run installs them.
official-clients: $(READY)
	@$(BIN)/python -m tests.official_clients.run $(ARGS)

bench: $(READY)
	$(BIN)/python benchmarks/run.py $(ARGS)

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
