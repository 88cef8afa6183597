# `make train`, `bench`, `tables` and `test` set up `.venv` themselves, once for each state of
# pyproject.toml.

# The default training: the one line to change.
TRAIN := -m leastcontrol.cli.digits

# What `make bench` measures: BENCH='--data mnist --json bench.json', say.
BENCH ?=

# Test processes, and the interpreters to try, in this order.
JOBS ?= 2
PYTHON ?= python3.13 python3.12 python3.11 python3

VENV := .venv/bin/python
# A stamp says that an installation was finished. Its name holds a checksum of what was asked for and
# of where (an editable installation points at this folder), so no clock is trusted.
STATE := $(shell { cat pyproject.toml && pwd; } | cksum | cut -d ' ' -f 1)
TRAIN_STAMP := .venv/.train-$(STATE)
DEV_STAMP := .venv/.dev-$(STATE)

.DEFAULT_GOAL := help
# Two installations into one environment at a time would spoil it.
.NOTPARALLEL:
.PHONY: help train bench test test-all floors lint format tables figures notebooks docs clean

help:
	@echo 'make train     set up and train on handwritten digits, least control beside backpropagation'
	@echo 'make bench     set up and time a step of every rule beside backpropagation (BENCH=options)'
	@echo 'make test      set up and run the tests, without the slow ones (make test-all: all)'
	@echo 'make lint      formatting, lint, types, import order (make format: mend the first two)'
	@echo 'make floors    try the oldest releases that pyproject.toml allows, in an environment of their own'
	@echo 'make figures   draw the figures of the documentation again'
	@echo 'make notebooks run the examples and store what they print for the documentation'
	@echo 'make docs      build the documentation into site/'
	@echo 'make clean     remove .venv and everything that was built'

# The development installation contains the one for training.
train: $(if $(wildcard $(DEV_STAMP)),,$(TRAIN_STAMP))
	@$(VENV) $(TRAIN)

bench: $(if $(wildcard $(DEV_STAMP)),,$(TRAIN_STAMP))
	@$(VENV) -m leastcontrol.cli bench $(BENCH)

test: $(DEV_STAMP)
	@$(VENV) -m pytest -n $(JOBS) -m 'not slow'

test-all: $(DEV_STAMP)
	@$(VENV) -m pytest -n $(JOBS)

lint: $(DEV_STAMP)
	$(VENV) -m ruff check .
	$(VENV) -m ruff format --check .
	$(VENV) -m pyright
	.venv/bin/lint-imports --no-logo --no-cache

floors: $(DEV_STAMP)
	@$(VENV) .ci/floors.py

format: $(DEV_STAMP)
	$(VENV) -m ruff check --fix .
	$(VENV) -m ruff format .

tables: $(if $(wildcard $(DEV_STAMP)),,$(TRAIN_STAMP))
	@PYTHONPATH=docs $(VENV) -m tables

figures: $(if $(wildcard $(DEV_STAMP)),,$(TRAIN_STAMP))
	@$(VENV) docs/figures

notebooks: $(DEV_STAMP)
	@PYTHONPATH=docs $(VENV) -m notebooks

docs: $(DEV_STAMP)
	$(VENV) -m mkdocs build --strict

clean:
	rm -rf .venv .hypothesis .pytest_cache .ruff_cache build dist site

$(TRAIN_STAMP):
	$(call install,train)

$(DEV_STAMP):
	$(call install,dev)

# An environment that is missing, half made (`.installing` is still there), made in another folder or too
# old is made anew. Finding an interpreter means running it: a name on the PATH may be a launcher with
# nothing behind it.
define install
@usable='import sys; sys.exit(sys.version_info < (3, 11))'; \
if ! { [ ! -e .venv/.installing ] && $(VENV) -c "$$usable" && $(VENV) -m pip --version \
       && grep -qF "$(CURDIR)/.venv" .venv/pyvenv.cfg; } >/dev/null 2>&1; then \
    for python in $(PYTHON) ''; do \
        if [ -z "$$python" ]; then \
            echo 'leastcontrol needs Python 3.11 or newer, and none of these is one: $(PYTHON).' \
                'Install one, or name yours: make $(firstword $(MAKECMDGOALS)) PYTHON=/path/to/python3' >&2; \
            exit 1; \
        fi; \
        if "$$python" -c "$$usable" >/dev/null 2>&1; then break; fi; \
    done; \
    echo "Making .venv with $$("$$python" --version)."; \
    "$$python" -m venv --clear .venv || { \
        echo "$$python could not make a virtual environment: install its venv module" \
            "(on Debian and Ubuntu the package python3-venv)." >&2; \
        exit 1; \
    }; \
fi; \
touch .venv/.installing; \
echo 'Installing leastcontrol[$(1)] and what it needs into .venv; the first time takes some minutes.'; \
$(VENV) -m pip install --quiet --disable-pip-version-check --editable '.[$(1)]'
@rm -f .venv/.$(1)-* .venv/.installing
@touch $@
endef
