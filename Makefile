# `make run` shows the product, `make test` proves it. Both make what they need in .venv and .tools of this folder.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
PYTEST ?= $(BIN)/python -m pytest
LOCK := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-annotate --no-header --quiet $(UPGRADE)

# Extra sources of packages that this machine may preset would take part in what the locks pin and in what `run` shows.
# The index, the proxy and the certificates that the user has set stay.
unexport PIP_FIND_LINKS
unexport PIP_EXTRA_INDEX_URL
unexport PIP_CONSTRAINT
unexport PIP_REQUIREMENT
unexport PIP_TARGET
unexport PIP_PREFIX
unexport PIP_USER
unexport PYTHONPATH
unexport PYTHONHOME

.DEFAULT_GOAL := help
.PHONY: help run test lint fmt types imports unit tools bench lock docs check-python check-namespaces clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

run: $(VENV)/.run ## download flask with its dependencies through a gateway of its own, and print the receipt
	@dest=$$(mktemp -d) && trap 'rm -rf "$$dest"' EXIT && \
	$(BIN)/mainstay run -- $(PIP) download --no-cache-dir --progress-bar off --dest "$$dest" flask && \
	echo && echo "downloaded:" && ls -1sh "$$dest"

# Three processes on two cores: much of what is tested waits for a timeout, or for a registry.
test: check-namespaces $(VENV)/.dev lint types imports tools ## everything: style, types, import order, the whole test suite with real clients
	$(PYTEST) --numprocesses=3 --dist=loadfile --no-loadscope-reorder

lint: $(VENV)/.dev ## style and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell src tests docs bench *.md Makefile .ci

fmt: $(VENV)/.dev ## format, and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(VENV)/.dev ## mypy, strict
	$(BIN)/mypy

imports: $(VENV)/.dev ## the import order of ARCHITECTURE.md
	$(BIN)/lint-imports --no-cache

unit: $(VENV)/.dev ## the tests that need neither package managers nor minutes
	$(PYTEST) -m "not clients and not faults and not pages"

tools: $(VENV)/.dev ## the package managers that tests/clients drives, in .tools
	$(BIN)/python tests/clients/tools.py

bench: $(VENV)/.dev ## the measurements of docs/performance.md
	$(BIN)/python bench/run.py $(BENCH)

docs: $(VENV)/.dev ## write the pages and blocks that are made from the program
	$(BIN)/python docs/generate.py

lock: $(VENV)/.dev ## pin the requirements again (UPGRADE=--upgrade for newer ones)
	$(LOCK) pyproject.toml -o requirements.lock
	$(LOCK) requirements-build.in -o requirements-build.lock
	$(LOCK) --override requirements-dev.overrides requirements-dev.in -o requirements-dev.lock

clean: ## remove what the other targets made in this folder
	rm -rf $(VENV) .tools .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

check-python:
	@command -v $(PYTHON) >/dev/null 2>&1 || \
	{ echo "$(PYTHON) is not on PATH: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "$(PYTHON) is $$($(PYTHON) -V 2>&1): Mainstay needs Python 3.11 or newer; name one: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	{ echo "$(PYTHON) cannot make virtual environments: install its venv module (Debian: python3-venv)" >&2; exit 1; }

# Without these, many tests would fail one by one, minutes later, each for a reason that looks different.
check-namespaces:
	@unshare --map-root-user --net --mount true || \
	{ echo "this user may not make user, network and mount namespaces here; 'mainstay run --sealed' and the tests need" \
	"them: see user_namespaces(7), and what AppArmor or the container's rules say about unshare" >&2; exit 1; }

$(VENV)/.run: requirements.lock requirements-build.lock pyproject.toml | check-python
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --require-hashes -r requirements.lock
	$(PIP) install --quiet --require-hashes -r requirements-build.lock
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	$(PIP) install --quiet --no-deps --require-hashes -r requirements-dev.lock
	@touch $@
