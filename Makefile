# Needs Python >= 3.11 with venv, make, and pip's usual way to its package index; nothing else.
#   make demo    speech made on the spot, a model trained on it, judged on speakers it never heard, a report to open
#   make test    the test suite          make lint    style, types, import order
#   make docs    the documentation, in site/          make bench   every benchmark
# On Linux the index's torch brings CUDA libraries with it; for the small CPU build say
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
PYTEST ?=
TORCH_INDEX ?=
DEMO_RUNS ?= runs/demo

RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# One thread for every worker process: over-subscription costs far more than a second thread gives.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help demo test lint format docs bench clean

help:
	@sed -n '2,5p' Makefile | cut -c 3-

# Stamps inside the environment: an install step runs again only when what it depends on has changed.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "auscult needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.torch: $(VENV)/.created constraints.txt
	@echo "installing torch (the largest part; minutes)"
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0
	@touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	@echo "installing auscult and what it needs"
	$(PIP) --editable '.[synth]'
	@touch $@

$(VENV)/.dev: $(VENV)/.torch pyproject.toml
	@echo "installing auscult with every tool of its development"
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.demo

$(VENV)/.docs: $(VENV)/.torch pyproject.toml
	$(PIP) --editable '.[docs]'
	@touch $@

demo: $(VENV)/.demo
	$(VENV)/bin/auscult demo --root $(DEMO_RUNS)

test: $(VENV)/.dev
	$(RUN) -m pytest -n $(WORKERS) $(PYTEST)

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: $(VENV)/.dev
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

docs: $(VENV)/.docs
	$(VENV)/bin/mkdocs build --strict

bench: $(VENV)/.dev
	@for benchmark in benchmarks/*.py; do echo "== $$benchmark"; $(RUN) $$benchmark || exit 1; done

clean:
	rm -rf $(VENV) site build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
