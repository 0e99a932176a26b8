# make run: install, then the whole pipeline on a generated demo log. make test: install, then the tests.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# cpu, cuda12 or cuda13: which build of XGBoost, faiss and RAPIDS is installed
DEVICE ?= cpu
# the constraints are those of the CPU build; RAPIDS pins its own pandas and numba
# PyTorch for CUDA 12 is not on PyPI (pyproject.toml)
VECTORS := $(if $(filter cuda12,$(DEVICE)),,embeddings,)
PIP := $(PY) -m pip --disable-pip-version-check install -q $(if $(filter cpu,$(DEVICE)),-c constraints.txt)

.PHONY: run test trust audit install lint format docs notebooks bench peers clean

run: install
	$(PY) -m otto_gpu.pipeline

test: install $(VENV)/.test
	$(PY) -m pytest -n 2 --dist worksteal

# what a run and its service survive, at length: kills, bad input, fuzzing, load; writes the figures of docs/trust.md
trust: install $(VENV)/.test
	$(PY) -m tests.trust.long

# the pinned versions against PyPI's advisories
audit: install
	$(PIP) pip-audit
	$(VENV)/bin/pip-audit -r constraints.txt --no-deps --disable-pip

install: $(VENV)/.installed

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

format: $(VENV)/.dev
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

# the reference of the configuration, from its schema
docs: install
	$(PY) -m otto_gpu.reference > docs/.configuration.md && mv docs/.configuration.md docs/configuration.md

notebooks: install $(VENV)/.notebooks
	$(VENV)/bin/jupyter lab notebooks

bench: install $(VENV)/.bench
	$(PY) -m benchmarks.run_all

# the libraries that benchmarks/quality.py compares with; their pins do not fit ours, so they live apart. Wheels only:
# building implicit takes a compiler and a while
peers: .venv-peers/.installed

clean:
	rm -rf $(VENV) .venv-peers build *.egg-info runs

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "otto_gpu needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[$(DEVICE)]'
	@touch $@

$(VENV)/.test: $(VENV)/.installed
	$(PIP) -e '.[$(DEVICE),cluster,$(VECTORS)lightgbm,search,test]'
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(PIP) -e '.[dev]'
	@touch $@

$(VENV)/.notebooks: $(VENV)/.installed
	$(PIP) -e '.[$(DEVICE),notebooks]'
	@touch $@

$(VENV)/.bench: $(VENV)/.installed
	$(PIP) -e '.[$(DEVICE),bench]'
	@touch $@

.venv-peers/.installed: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip --disable-pip-version-check install -q --only-binary :all: -r $<
	@touch $@
