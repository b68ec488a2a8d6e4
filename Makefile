# Each command makes its own environment in .venv when there is none.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
# For benchmarks: Asteroid needs packages that jaxsep's tests should not have.
PEERS := .venv-bench
TORCH := torch==2.13.0

.PHONY: quickstart test test-all check bench clean

# A half-made environment is removed, so that the next try starts afresh.
$(BIN)/pip:
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "$(PYTHON) cannot make environments: install Python 3.11 with its venv module"; \
	  exit 1; }

# An extra is installed once; a change of setup.py installs it again.
$(VENV)/installed-%: setup.py | $(BIN)/pip
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	touch $@

# These compile: without a compiler, their tests say what they need.
$(VENV)/tried-compiled: | $(VENV)/installed-test
	for package in pesq meeteval; do \
	  $(BIN)/python -m pip install --quiet $$package 2> $(VENV)/$$package.log \
	    || echo "$$package did not compile (see $(VENV)/$$package.log); going on without"; \
	done
	touch $@

# Large pages spare Linux most of the page faults of fresh feature maps, which
# cost time in every training step on the CPU.
quickstart: $(VENV)/installed-train,plot
	GLIBC_TUNABLES=glibc.malloc.hugetlb=1 $(BIN)/python -m experiments.quickstart

test: $(VENV)/installed-test $(VENV)/tried-compiled
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile \
	  --no-loadscope-reorder -m "not slow"

test-all: $(VENV)/installed-test $(VENV)/tried-compiled
	$(BIN)/python -m pytest

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# Asteroid as it comes pulls in packages that no longer install together; its
# ConvTasNet needs these alone.
$(PEERS)/installed:
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet $(TORCH) numpy scipy \
	  soundfile requests packaging huggingface_hub
	$(PEERS)/bin/python -m pip install --quiet --no-deps \
	  asteroid==0.7.0 asteroid-filterbanks==0.4.0
	touch $@

bench: $(VENV)/installed-test $(PEERS)/installed
	$(BIN)/python -m experiments.benchmarks.conv_tasnet
	$(BIN)/python -m experiments.benchmarks.dptnet
	$(BIN)/python -m experiments.benchmarks.streaming
	$(BIN)/python -m experiments.benchmarks.long_recording
	$(BIN)/python -m experiments.benchmarks.probe_suite
	$(BIN)/python -m experiments.benchmarks.bss_eval
	test -z "$(JAXSEP_DATA)" || $(BIN)/python -m experiments.benchmarks.data_pipeline

clean:
	rm -rf $(VENV) $(PEERS) .pytest_cache build dist *.egg-info
