# `make help` lists what can be done. Variables: make up STONES=100000 SEED=3 FRESH=1 PORT_BASE=4000 API=2 PROCESS=2 DATA=dir
SHELL := /bin/bash
.DEFAULT_GOAL := help

STONES ?= 20000
SEED ?= 7
PORT_BASE ?= 3000
API ?= 1
PROCESS ?= 1
DATA ?= .adamas
FRESH ?=

VENV := .venv
PYTHON := $(VENV)/bin/python
# A file of tests stays on one worker, and each worker has a Kafka and a Postgres of its own: nothing is shared.
SPREAD := --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder --max-worker-restart 0
CODE := $(wildcard schemas connectors streams operating api monitor runtime migrations adamas tests bench drills)
# The first of these that is at least 3.11 makes the virtual environment; 3.11 first, it is what the tests run on.
CANDIDATES := python3.11 python3.12 python3.13 python3

.PHONY: help
help: ## List every target
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: up
up: $(VENV)/.installed ## Start everything here and show how it goes (STONES= SEED= FRESH=1 PORT_BASE= API= PROCESS= DATA=)
	@exec $(PYTHON) -I -S adamas/leash.py $$PPID 15 -- $(PYTHON) -m adamas.cli up --stones $(STONES) --seed $(SEED) \
		--port-base $(PORT_BASE) --api $(API) --process $(PROCESS) --data "$(DATA)" $(if $(filter-out 0,$(FRESH)),--fresh)

.PHONY: test
test: $(VENV)/.installed-dev ## Run all tests, with a real Kafka and a real Postgres
	$(PYTHON) -m pytest $(SPREAD)

.PHONY: unit
unit: $(VENV)/.installed-dev ## Run the tests that need neither Kafka nor Postgres (seconds)
	$(PYTHON) -m pytest tests/unit -m "not slow" $(SPREAD)

.PHONY: lint
lint: $(VENV)/.installed-dev ## Check style and format
	$(PYTHON) -m ruff check $(CODE)
	$(PYTHON) -m ruff format --check $(CODE)

.PHONY: format
format: $(VENV)/.installed-dev ## Rewrite the code in our format
	$(PYTHON) -m ruff check --fix $(CODE)
	$(PYTHON) -m ruff format $(CODE)

.PHONY: types
types: $(VENV)/.installed-dev ## Check types, tests included
	$(PYTHON) -m mypy $(addprefix -p ,$(CODE))

.PHONY: docs
docs: $(VENV)/.installed ## Write the pages of docs/ that are generated from code
	$(PYTHON) -m adamas.cli docs

bench-%: $(VENV)/.installed-dev ## Measure a claim about speed, as bench-replay (STONES= SEED= ROUNDS= and what else its file names)
	@$(PYTHON) -m bench.$(subst -,_,$*)

drill-%: $(VENV)/.installed-dev ## Try a claim about faults, as drill-process-kill (SEED=n: other moments, other victims; ARGS: its own)
	@$(PYTHON) -m drills.$(subst -,_,$*) --seed $(SEED) $(ARGS)

.PHONY: lock
lock: ## Resolve all dependencies anew: both lock files and Kafka's jars
	$(find_python) && $$python -m venv build/lock && build/lock/bin/python -m pip install --quiet uv
	build/lock/bin/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url \
		--python-version 3.11 pyproject.toml --output-file requirements.lock
	build/lock/bin/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url \
		--python-version 3.11 pyproject.toml --group dev --output-file requirements-dev.lock
	$(MAKE) $(VENV)/.installed
	$(PYTHON) -m adamas.embedded.kafka_jars --lock

.PHONY: clean
clean: ## Forget the kept data (DATA=), caches and build results; the virtual environment stays
	@if kill -0 "$$(cat "$(DATA)/up.lock" 2>/dev/null)" 2>/dev/null; then \
		echo "make up is running on $(DATA); stop it first (Ctrl-C)." >&2; exit 1; fi
	rm -rf "$(DATA)" build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

# Sets $$python to the first candidate that is new enough. A name may exist and still not run (pyenv's shims).
find_python = python=; for candidate in $(CANDIDATES); do \
	if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	echo "Python 3.11 or newer is needed, and none of $(CANDIDATES) is. Install one (Debian: apt-get install python3 python3-venv) and try again." >&2; \
	exit 1; fi

$(VENV)/.installed: requirements.lock adamas/install.py
	@$(find_python); $$python adamas/install.py requirements.lock $(VENV) && touch $@

$(VENV)/.installed-dev: requirements-dev.lock adamas/install.py
	@$(find_python); $$python adamas/install.py requirements-dev.lock $(VENV) && touch $@
