# `make demo` needs Python 3.11 or newer and a package index; nothing else has to be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
DEMO := demo-index

.PHONY: help setup demo test quick lint types links format clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/'

$(VENV)/.demo: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.test: $(VENV)/.demo
	$(PIP) install --quiet --constraint constraints.txt --editable '.[test,bench,serve]'
	touch $@

setup: $(VENV)/.test  ## make .venv with everything that the tests and benchmarks use

demo: $(VENV)/.demo  ## index the Python documentation on this machine and ask it three questions
	$(BIN)/lsr demo --out $(DEMO)

test: $(VENV)/.test lint types  ## everything that CI runs
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

quick: $(VENV)/.test  ## the tests without the slow ones
	$(BIN)/python -m pytest -m 'not slow'

lint: $(VENV)/.test  ## ruff: rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.test  ## let ruff rewrite the files
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

links:  ## a tree that looks like the installed package, for mypy, pyright and IDEs
	@rm -rf .links && mkdir -p .links/lsr
	@for f in lsr/*; do ln -s ../../$$f .links/$$f; done
	@for d in index train eval service; do ln -s ../../$$d .links/lsr/$$d; done

types: $(VENV)/.test links  ## mypy, strict
	$(BIN)/mypy

clean:  ## remove what the targets made
	rm -rf $(VENV) .links $(DEMO) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
