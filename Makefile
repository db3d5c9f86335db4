# The everyday commands. `make` or `make help` lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
ARGS   ?=
EXTRAS ?= dev
PORT   ?= 6006

.DEFAULT_GOAL := help
.PHONY: help train check test test-all test-cuda dashboard bench docs lint format clean

help:  ## list these commands and the verbs
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20
	@echo
	@echo "The verbs, after: source $(BIN)/activate"
	@for file in src/experiments/*.py; do \
		sed -n '1s/^"""\([A-Z].*\): `python -m \(experiments\)\.\([a-z]*\) .*/  \2 \3\t\1/p' $$file; done | expand -t 26

# Made anew only when the dependencies change.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; choose one with: make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (a few minutes, once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$(EXTRAS)]"
	@touch $@

train: $(STAMP)  ## train the default run; ARGS="optimizer=sgd init=xavier" changes it
	@$(BIN)/python -m experiments.train $(ARGS)

check: lint  ## the quick one: check style and types, and run the fast tests (1 to 2 minutes)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q -m "not slow and not exhaustive" $(ARGS)

test: $(STAMP)  ## run the tests (about 10 minutes on 2 cores)
	@echo "The tests take about 10 minutes on 2 cores; make check runs the fast ones in 1 to 2 minutes."
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

test-all: $(STAMP)  ## run the tests with every case of the large tables and the longest kills (several times as long)
	@echo "All tests take several times as long as make test, which takes about 10 minutes on 2 cores."
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "" $(ARGS)

test-cuda: $(STAMP)  ## run the tests that need a CUDA device
	@TEST_DEVICE=cuda $(BIN)/python -m pytest tests/training/test_cuda.py $(ARGS)

dashboard: $(STAMP)  ## show outputs/ in TensorBoard on http://localhost:6006 (PORT=... changes it)
	@$(BIN)/python -m experiments.folders.dashboard --logdir outputs --host localhost --port $(PORT) $(ARGS)

bench: $(STAMP)  ## measure speed, start-up and memory against hand-written loops
	@$(BIN)/python -m benchmarks $(ARGS)

# Made anew only when the dependencies change; docs alone needs these packages.
$(VENV)/.docs: $(STAMP)
	@echo "Installing what builds the documentation (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	@touch $@

docs: $(VENV)/.docs  ## build the documentation into site/, with warnings as errors
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict $(ARGS)
	@echo "The documentation is site/index.html; for its search too: $(BIN)/python -m http.server --directory site"

lint: $(STAMP)  ## check style and types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: $(STAMP)  ## put the code into the house style
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

clean:  ## remove the environment and caches; outputs/ stays
	@rm -rf $(VENV) dist site .pytest_cache .mypy_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
