# Everything sets itself up: Python ≥ 3.11 with venv, make and the Python package index are enough.
#   make run                     the whole course, quick profile     make run VENV=~/envs/course   an environment elsewhere
#   make run TORCH_INDEX=URL     torch and torchvision from another wheel index (e.g. the CPU builds)
VENV ?= .venv
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
TORCH_INDEX ?=
TEST_JOBS ?= 2
ARGS ?=
# Which versions setup takes: tested (constraints.txt), oldest (the lower bounds of pyproject.toml), newest.
# Give the others an environment of their own: make test CONSTRAINTS=oldest VENV=.venv-oldest
CONSTRAINTS ?= tested
PINS_tested := -c constraints.txt
PINS_newest :=

$(if $(word 2,$(VENV)),$(error VENV=$(VENV) has a space in it, which make cannot follow; give a path without))
BIN := $(VENV)/bin
STAMP := $(VENV)/.course-installed
# One thread per process when tests run side by side; figures need the notebook's own matplotlib backend.
TEST_ENV := env -u MPLBACKEND COURSE_STRICT=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
NBVAL := --nbval-lax --nbval-current-env --nbval-cell-timeout 300

.DEFAULT_GOAL := help
.PHONY: help setup run test test-unit lab slides site vendor doctor bench check lint format store full lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## create the environment and install (the other targets do this by themselves)

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No Python ≥ 3.11 with the venv module was found. Install one (Debian: python3-venv) or name it: make PYTHON=/path/to/python"; exit 1; }
	$(if $(filter tested oldest newest,$(CONSTRAINTS)),,$(error CONSTRAINTS=$(CONSTRAINTS) is none of tested, oldest, newest))
	@echo "Setting up $(VENV) with $(PYTHON): about 3 GB to download, once."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
ifeq ($(CONSTRAINTS),oldest)
	$(BIN)/python -m pip install uv
	$(BIN)/uv pip install --python $(BIN)/python --resolution lowest-direct $(if $(TORCH_INDEX),--index $(TORCH_INDEX)) -e ".[dev,site]"
else
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install $(PINS_$(CONSTRAINTS)) --index-url $(TORCH_INDEX) torch torchvision)
	$(BIN)/python -m pip install $(PINS_$(CONSTRAINTS)) -e ".[dev,site]"
endif
	@touch $@

run: $(STAMP)  ## execute the whole course on embedded digits, report in build/run/index.html
	$(BIN)/course run $(ARGS)

test: $(STAMP)  ## run every test: the package, and every notebook cell by cell
	$(TEST_ENV) $(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadscope $(NBVAL) tests notebooks $(ARGS)

test-unit: $(STAMP)  ## run the tests of the package only
	$(TEST_ENV) $(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadscope tests $(ARGS)

lab: $(STAMP)  ## open JupyterLab on 00_start_here, its kernel ready
	$(if $(COURSE_CHECKPOINTS),PYTHONHASHSEED=0 PYTHONSTARTUP=$(CURDIR)/course_utils/tools/lecture_start.py) \
	$(BIN)/jupyter lab notebooks --LabApp.default_url=/lab/tree/00_start_here.ipynb $(ARGS)

site: $(STAMP)  ## the chapters as a web site in build/site/, after executing what has changed (ARGS=--stored: nothing)
	$(BIN)/course site $(ARGS)

vendor: $(STAMP)  ## fetch the scripts that slides and web site load into build/vendor (needs the network once)
	$(BIN)/course vendor

doctor: $(STAMP)  ## say what this machine has and what is missing
	$(BIN)/course doctor

bench: $(STAMP)  ## measure the training loop against its floor and a common loop
	$(BIN)/course bench fit $(ARGS)

slides: $(STAMP)  ## write every chapter as a lecture into build/slides/index.html (ARGS="02" for one)
	$(BIN)/course slides $(ARGS)

check: $(STAMP)  ## lint code and notebooks, check their format, and the types of package and tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lint: $(BIN)/ruff  ## the part of make check that needs no PyTorch: lint code and notebooks, check their format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(BIN)/ruff:  # only if setup has not brought it
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PINS_tested) ruff

format: $(STAMP)  ## mend what the linter can mend, and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

store: $(STAMP)  ## execute the chapters and keep their outputs in notebooks/ (ARGS="02" for one)
	$(BIN)/course store $(ARGS)

full: $(STAMP)  ## run the full profile and store its numbers (needs MNIST: course data fetch mnist)
	$(BIN)/course run --profile full $(ARGS)

lock: pyproject.toml  ## write constraints.txt anew from the newest versions that install together
	rm -rf build/lock && $(PYTHON) -m venv build/lock && build/lock/bin/python -m pip install -q -e ".[dev,site]"
	{ echo "# The exact versions last tested together. 'make lock' writes this file anew."; \
	  build/lock/bin/python -m pip freeze --exclude-editable | sed 's/+[a-z0-9]*$$//' | \
	  awk '/^soupsieve==/ {print $$0 " ; python_full_version >= \"3.11.5\""; \
	       $$0 = "soupsieve==2.10 ; python_full_version < \"3.11.5\""} {print}'; } > build/constraints.part
	mv build/constraints.part constraints.txt && rm -rf build/lock

clean:  ## remove what runs leave behind (keeps the environment and data)
	rm -rf build .pytest_cache .ruff_cache
