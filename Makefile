# The two commands: `make demo` shows the whole bridge at work, `make test` proves it. Both set up what they need first.
# `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
PY := $(VENV)/bin/python
CONTRACTS := infra/contracts
PYTHON_READY := $(VENV)/.ready
NODE_READY := $(CONTRACTS)/node_modules/.ready
# The first of these that is there and at least 3.11; `make PYTHON=/path/to/python` chooses another.
PYTHON ?= $(shell for one in python3.11 python3.12 python3.13 python3; do \
	if "$$one" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo "$$one"; break; fi; done)

# Parameters of `make demo` and `make up`, e.g. `make demo ARGS="--validators 5 --threshold 3"`; of `make test` e.g. ARGS="-k mint".
ARGS ?=
# Test processes at once.
WORKERS ?= 2
# What covers flows, keys and codecs, and the coverage in percent that each of them has reached: it only goes up.
COVERING := $(addprefix tests/,unit/test_flow* unit/test_keys* unit/test_cli_keys.py unit/test_ethereum* unit/test_pocket_[acmv]* \
	property/test_ethereum* property/test_pocket* integration/test_keys*)
REACHED := 99.5
COMPILE := uv pip compile pyproject.toml --generate-hashes --no-emit-index-url --no-annotate --no-header --python-version 3.11

.PHONY: help setup demo up test lint coverage fuzz mutation format chaos bench lock clean

help: ## Show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: $(PYTHON_READY) $(NODE_READY) ## Install everything below this folder (what is installed already stays)

demo: setup ## Run a whole bridge here and show a mint, a refund and a return happening
	@$(PY) -m infra.localnet demo $(ARGS)

up: setup ## Run a whole bridge here until Ctrl-C
	@$(PY) -m infra.localnet up $(ARGS)

test: setup ## Run all tests
	@$(PY) -m pytest -n $(WORKERS) $(ARGS) && code=0 || code=$$?; \
	if [ -n "$${EXIT_CODE_FILE:-}" ]; then echo "$$code" > "$$EXIT_CODE_FILE"; else exit "$$code"; fi

lint: setup ## Check style, types, import rules, known vulnerabilities, and that no secret is in the tree
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports
	@$(PY) -m infra.hygiene.secret_scan
	@$(PY) -m infra.hygiene.dependency_audit

secrets: setup ## Accept what lint takes for secrets and is worthless: writes .secrets.baseline
	@$(PY) -m infra.hygiene.secret_scan --accept

format: setup ## Put the code into shape
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

coverage: setup ## Hold the coverage by branch of flows, keys and codecs: it fails when it falls
	@$(PY) -m coverage run -m pytest -q --no-header -p no:cacheprovider $(COVERING)
	@for part in flows keys chains; do \
		$(PY) -m coverage report --include="reactor/$$part/*" --fail-under=$(REACHED); done

fuzz: setup ## Feed a million damaged inputs to codecs, parsers and settings (a quarter of an hour)
	@HYPOTHESIS_PROFILE=long $(PY) -m pytest -q -p no:cacheprovider tests/property/test_fuzz.py tests/property/test_hostile_*.py $(ARGS)

mutation: setup ## Change the code of flows, journal, keys and codecs bit by bit and see which tests notice (hours; prints the score)
	@$(VENV)/bin/mutmut run $(ARGS) | tail -n 3
	@$(PY) -m tests.mutation

chaos: setup ## Run whole bridges while everything around them fails and lies (ARGS="--manifest NAME --seed N"; all: half an hour)
	@$(PY) -m tests.chaos $(ARGS)

bench: setup ## Measure the signing hop
	@$(PY) -m tests.benchmarks $(ARGS)

lock: ## Choose newer versions and write the lock files of Python (needs uv)
	@command -v uv > /dev/null || { echo "make lock needs uv: install it with 'pipx install uv'" >&2; exit 1; }
	$(COMPILE) --upgrade -o requirements.lock
	$(COMPILE) --upgrade --extra dev --extra mongod -o requirements-dev.lock

clean: ## Remove what was installed and what ran here
	rm -rf $(VENV) $(CONTRACTS)/node_modules .localnet .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage mutants
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A virtual environment with exactly what the lock file names, each file checked by its hash, and the source tree on its path.
$(PYTHON_READY): requirements-dev.lock
	@if [ -z "$(PYTHON)" ]; then \
		echo "Python 3.11 or newer is missing: install it (Debian: apt-get install python3 python3-venv)" >&2; exit 1; fi
	@if ! $(PY) -m pip --version > /dev/null 2>&1; then \
		echo "Creating $(VENV) with $(PYTHON)"; \
		$(PYTHON) -m venv --clear $(VENV) || { \
			rm -rf $(VENV); \
			echo "$(PYTHON) can't make a virtual environment (Debian: apt-get install python3-venv)" >&2; exit 1; }; fi
	@echo "Installing the Python packages of requirements-dev.lock (a minute or two, once)"
	@$(PY) -m pip install --quiet --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@echo "$(CURDIR)" > "$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/bridge-reactor.pth"
	@printf '#!%s/%s\nimport sys\n\nfrom reactor.cli.main import main\n\nsys.exit(main())\n' "$(CURDIR)" "$(PY)" > $(VENV)/bin/reactor
	@chmod +x $(VENV)/bin/reactor
	@touch $@

# anvil, and the compiler with which the tests check the contracts' artifacts.
$(NODE_READY): $(CONTRACTS)/package-lock.json
	@command -v node > /dev/null && command -v npm > /dev/null || { \
		echo "Node.js 20 or newer with npm is missing: install it (https://nodejs.org)" >&2; exit 1; }
	@node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' || { \
		echo "Node.js $$(node --version) is too old: install 20 or newer (https://nodejs.org)" >&2; exit 1; }
	@echo "Installing the npm packages of $(CONTRACTS)/package-lock.json"
	@cd $(CONTRACTS) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@
