# `make demo` shows the main job; `make test` proves it. Both set up what they need in .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Tests wait for servers and deadlines more than they compute: more of them at once than there are processors.
WORKERS ?= 4

.PHONY: demo test lint types types-pyright versions matrix faults isolation fuzz soak bulk chaos bench clean
.PHONY: official-clients official-clients-adobe official-clients-contentstack browser-test
.DEFAULT_GOAL := test

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "flagmw needs Python 3.11 or newer: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[admin,adobe,cli,django,fastapi,flask,parquet,plot,sandbox,sftp,valkey]' --group dev
	@touch $(READY)

demo: $(READY)
	@VENDORS=$(VENDORS) $(BIN)/python integrations/demo.py $(if $(SERVE),--serve)

# Many tests start processes: with bytecode on disk each of them is there sooner.
test: $(READY)
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy
	$(BIN)/mypy tests/typing

# The other type checker's view of what users see; needs node.
types-pyright: $(READY)
	npx --yes pyright@1.1.414 --pythonpath $(BIN)/python tests/typing

# The tests on every Python from 3.11 that this machine has, with the lowest and the newest dependencies.
versions: $(READY)
	@$(BIN)/python -m tests.versions.run $(ARGS)

matrix: $(READY)
	@$(BIN)/python -m tests.servers.matrix.run

# The long forms: make faults ARGS="--requests 100000", make isolation ARGS="--requests 1000000",
# make fuzz ARGS="--inputs 1000000".
faults: $(READY)
	@$(BIN)/python -m tests.faults.load.run $(ARGS)

isolation: $(READY)
	@$(BIN)/python -m tests.faults.isolation.run $(ARGS)

fuzz: $(READY)
	@$(BIN)/python -m tests.faults.fuzz.run $(ARGS)

# The long form: make soak ARGS="--kills 200 --outage 600 --backlog 36000".
soak: $(READY)
	@$(BIN)/python -m tests.faults.soak.run $(ARGS)

# The long form: make bulk ARGS="--kills 50 --rows 500000".
bulk: $(READY)
	@$(BIN)/python -m tests.faults.bulk.run $(ARGS)

# The long form: make chaos ARGS="--seconds 600 --seed 7". A run prints its seed; --only names single attacks.
chaos: $(READY)
	@$(BIN)/python -m tests.chaos.run $(ARGS)

# The vendors' own clients judge the sandbox and the codecs; the first run installs them. Needs node and npm.
official-clients: official-clients-adobe official-clients-contentstack

official-clients-adobe: $(READY)
	@$(BIN)/python -m tests.contracts.vendors.official_clients.run $(ARGS)

CONTENTSTACK := tests/contracts/vendors/official_clients/contentstack
$(CONTENTSTACK)/node_modules/.ready: $(CONTENTSTACK)/package.json
	npm install --prefix $(CONTENTSTACK) --no-package-lock --no-audit --no-fund --ignore-scripts --loglevel=error
	@touch $@

official-clients-contentstack: $(READY) $(CONTENTSTACK)/node_modules/.ready
	$(BIN)/python -m pytest $(CONTENTSTACK)/check.py $(CONTENTSTACK)/check_variants.py $(ARGS)

# The vendor's own client in a real browser; needs Chromium besides.
browser-test: $(READY) $(CONTENTSTACK)/node_modules/.ready
	$(BIN)/python -m pytest $(CONTENTSTACK)/browser.py $(ARGS)

bench: $(READY)
	@$(BIN)/python -m benchmarks.run $(ARGS)

clean:
	rm -rf $(VENV) .venv-peers $(CONTENTSTACK)/node_modules build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
