# Every target sets up what it needs by itself: a virtual environment in this checkout with the versions of
# constraints.txt, and the system packages of napari's window when they are missing. `make` alone lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help venv demo test test-fast test-pyqt6 lint format readme docs build clean window

VENV := .venv
BIN := $(VENV)/bin
VENV_PYQT6 := .venv-pyqt6
INPUTS := pyproject.toml constraints.txt tools/make-venv

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/make \1|\2/p' Makefile | column -t -s '|' 2>/dev/null || \
		sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/make \1: \2/p' Makefile

venv: $(VENV)/.ready-dev ## make .venv with everything a developer needs

# The demo starts Xvfb by itself when no display is named; a display that does not answer counts as none.
# VIEWER=no leaves out the window and its system packages; DEMO_ARGS are handed to napari-uda demo.
ifeq ($(VIEWER),no)
demo: $(VENV)/.ready-all ## adapt from the sample CT to the sample MR, score, open napari
	$(BIN)/python -m napari_uda demo --no-viewer $(DEMO_ARGS)
else
demo: window $(VENV)/.ready-all
	tools/has-display || unset DISPLAY WAYLAND_DISPLAY; $(BIN)/python -m napari_uda demo $(DEMO_ARGS)
endif

test: window $(VENV)/.ready-dev ## run all tests in two processes, each with its own display; PYTEST_ARGS are handed to pytest
	tools/with-display $(BIN)/python -m pytest -n 2 --dist loadgroup $(PYTEST_ARGS)

test-fast: $(VENV)/.ready-dev ## run the engine's tests but for the slow ones, for while one works
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not slow" --ignore=tests/gui $(PYTEST_ARGS)

test-pyqt6: window $(VENV_PYQT6)/.ready ## run the tests of the docks on PyQt6
	QT_API=pyqt6 PYTEST_QT_API=pyqt6 tools/with-display $(VENV_PYQT6)/bin/python -m pytest tests/gui -n 2 --dist loadgroup $(PYTEST_ARGS)

lint: $(VENV)/.ready-dev ## ruff, mypy, codespell and the manifest's check
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python -m codespell_lib napari_uda tests benchmarks docs examples tools *.md *.toml *.yaml *.yml Makefile
	$(BIN)/npe2 validate napari.yaml

format: $(VENV)/.ready-dev ## let ruff rewrite the code
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

readme: $(VENV)/.ready-dev ## write the tables that come from the code into README.md and docs/
	$(BIN)/python tools/methods_table.py --write

docs: $(VENV)/.ready-dev ## build the documentation site into site/, without a network
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo 'Open site/index.html; with the search: python3 -m http.server -d site'

build: $(VENV)/.ready-dev ## wheel and source archive in dist/
	$(BIN)/python -m build

clean: ## remove the virtual environments and build outputs
	rm -rf $(VENV) $(VENV_PYQT6) build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache

window:
	@tools/system-packages

$(VENV)/.ready-all: $(INPUTS)
	tools/make-venv $(VENV) all
	@touch $@

$(VENV)/.ready-dev: $(INPUTS)
	tools/make-venv $(VENV) dev
	@touch $(VENV)/.ready-all $@

$(VENV_PYQT6)/.ready: $(INPUTS)
	tools/make-venv $(VENV_PYQT6) pyqt6,test
	@touch $@
