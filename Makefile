# Everything here runs in .venv, made with nothing but Python 3.11+, pip and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt
OUT    ?=

# Two worker processes share two cores: one thread each.
export OMP_NUM_THREADS ?= 1

.PHONY: help install search test lint format bench compile plain wheel clean
.DEFAULT_GOAL := help

help:
	@echo "make search    search NASNet cells on handwritten digits with the RL controller"
	@echo "make test      run the tests"
	@echo "make lint      ruff, mypy, import rules"
	@echo "make bench     print the figures of docs/performance.md"
	@echo "make compile   turn what binds and fingerprints into machine code, beside its source"
	@echo "make plain     remove that machine code"
	@echo "make wheel     build dist/nasflow-*.whl"

# torch first and alone: pinned, so that nothing later can choose another build of it.
$(VENV)/.torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	@touch $@

$(VENV)/.nasflow: $(VENV)/.torch pyproject.toml
	$(PIP) --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.nasflow
	$(PIP) --editable '.[cluster,test]'
	@touch $@

$(VENV)/.lint: $(VENV)/.test
	$(PIP) --editable '.[lint]'
	@touch $@

install: $(VENV)/.nasflow

search: $(VENV)/.nasflow
	$(BIN)/python -m nasflow search +space=nasnet +strategy=rl $(if $(OUT),out=$(OUT))

test: $(VENV)/.test plain
	$(BIN)/python -m pytest -q -n 2 --dist loadfile $(PYTEST)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.test
	$(BIN)/python -m benchmarks

# Python imports what is compiled instead of the source beside it: make plain, or compile again, after a change.
compile: $(VENV)/.lint
	NASFLOW_COMPILE=1 $(BIN)/python setup.py --quiet build_ext --inplace

plain:
	rm -f nasflow_ir__mypyc*.so nasflow/ir/*.so

wheel: $(VENV)/.torch
	$(BIN)/python -m pip wheel --disable-pip-version-check --quiet --no-deps --wheel-dir dist .

clean: plain
	rm -rf $(VENV) build dist *.egg-info
