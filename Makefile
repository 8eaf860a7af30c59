# `make demo` and `make test` need Python 3.11 or newer, and nothing installed beforehand.
# Everything goes into ./.venv; no step needs root.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint kernels bench soak walk install-check coverage docs site clean

VENV := .venv
BIN := $(VENV)/bin

# The interpreter that makes .venv; override with `make PYTHON=/path/to/python ...`.
IS_NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	if command -v $$p >/dev/null 2>&1 && $$p -c '$(IS_NEW_ENOUGH)'; then echo $$p; break; fi; done)

# Without bytecode on disk each of the hundreds of processes that the tests start would compile all it imports.
unexport PYTHONDONTWRITEBYTECODE

# Passed on: `make demo ARGS="--port 5010"`, `make test ARGS="tests/wire -x"`.
ARGS ?=

help:  ## list the targets
	@echo 'usage: make TARGET [ARGS="..."] [PYTHON=/path/to/python3]'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.demo-installed  ## install what the dashboard needs, then show it with made-up traffic
	$(BIN)/aishark demo $(ARGS)

# Three workers for two processors: many tests wait for what other processes do. conftest.py says in which order.
test: $(VENV)/.test-installed  ## install everything, check the code, run all tests
	@$(MAKE) --no-print-directory --jobs 2 lint kernels
	@echo '==> Running the tests'
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

coverage: $(VENV)/.coverage-installed kernels  ## run the tests and report what they reach: build/coverage/index.html
	COVERAGE_FILE=$(CURDIR)/build/coverage/data $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder \
		--cov --cov-report=term --cov-report=html:build/coverage $(ARGS)

lint: $(VENV)/.test-installed  ## check style, types and layering
	@echo '==> Checking style, types and layering'
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# Once and before the tests: else the first hub of each worker compiles them, and all that it serves waits.
kernels: $(VENV)/.test-installed
	@echo '==> Compiling the kernels'
	$(BIN)/python -c 'from aishark_panel.dissect import warm_up; from aishark_panel.streams.rehearsal import rehearse; warm_up(); rehearse()'

bench: kernels  ## measure, beside others, and write docs/performance.md (half an hour; ARGS=--quick for a look)
	@echo '==> Measuring'
	$(BIN)/python benchmarks/run.py $(ARGS)

soak: $(VENV)/.test-installed kernels  ## run everything for half an hour while things break: docs/soak.md
	$(BIN)/python -m benchmarks.soak $(ARGS)

CHROMIUM = $(shell command -v chromium-headless-shell || command -v chromium)

install-check: $(VENV)/.test-installed  ## install in each way of docs/howto/install.md and try it (some minutes)
	$(BIN)/python packaging/check.py $(if $(CHROMIUM),--chromium $(CHROMIUM)) $(ARGS)

walk: $(VENV)/.test-installed  ## go the README's way in a fresh clone, and time it: docs/walk.md (as root; ARGS=--publish)
	$(BIN)/python packaging/walk.py $(ARGS)

docs: $(VENV)/.test-installed  ## make the pages of docs/ that are made from the code
	$(BIN)/python -m aishark_panel.reference docs

site: $(VENV)/.test-installed  ## make site/, the pages of docs/ for a browser
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --conf-dir docs --doctree-dir .doctrees . site

clean:  ## remove .venv and everything else that was made
	rm -rf $(VENV) build dist site .doctrees .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find aishark_panel tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# pip compiles what it installs with one processor; some packages hold files of other Pythons, which do not compile.
# Their own tests, a fifth of all, nobody imports.
INSTALL = $(BIN)/python -m pip install --no-compile --editable '.[$(EXTRAS)]' && \
	{ $(BIN)/python -m compileall -qq -j 0 -x '/tests?/' $(VENV)/lib || true; }

# A stamp for each set of packages: made anew only when pyproject.toml changes, so a second run starts at once.
$(VENV)/.demo-installed: EXTRAS := dashboard
$(VENV)/.demo-installed: pyproject.toml | $(BIN)/python
	@echo '==> Installing the dashboard into $(VENV) (a minute or two, once)'
	$(INSTALL)
	@touch $@

$(VENV)/.test-installed: EXTRAS := all,dev
$(VENV)/.test-installed: pyproject.toml | $(BIN)/python
	@echo '==> Installing everything the tests need into $(VENV) (a few minutes, once)'
	$(INSTALL)
	@touch $@ $(VENV)/.demo-installed

$(VENV)/.coverage-installed: EXTRAS := all,dev,coverage
$(VENV)/.coverage-installed: $(VENV)/.test-installed
	@echo '==> Installing what measures coverage into $(VENV)'
	$(INSTALL)
	@touch $@

$(BIN)/python:
	@test -n '$(PYTHON)' || { \
		echo 'No Python 3.11 or newer found. Install one (Debian 12+, Ubuntu 23.04+: apt install python3 python3-venv;' >&2; \
		echo 'macOS: brew install python; or https://www.python.org/downloads/), or name one: make PYTHON=/path/to/python3' >&2; \
		exit 1; }
	@$(PYTHON) -c '$(IS_NEW_ENOUGH)' 2>/dev/null || { \
		echo '$(PYTHON) does not run, or is older than Python 3.11. Name another: make PYTHON=/path/to/python3' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo '$(PYTHON) cannot make virtual environments: its modules venv and ensurepip are missing.' >&2; \
		echo 'Install them (Debian, Ubuntu: apt install python3-venv), or name another Python: make PYTHON=/path/to/python3' >&2; \
		exit 1; }
	@echo '==> Making $(VENV) with $(PYTHON)'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
