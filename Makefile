# Everything starts from a fresh Debian or Ubuntu machine with Python >= 3.10 and root or sudo.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The device in a box needs namespaces of its own, which only root may make.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env)
# What the product does with an engine: run on other engines, too.
ENGINE_TESTS := $(addprefix tests/integration/test_, pull.py service.py engine_variants.py faults_registry.py load.py)
# Each worker has a device of its own; most tests wait more than they compute.
WORKERS ?= 3
SIDE_BY_SIDE := -n $(WORKERS) --dist worksteal
STAMP := $(VENV)/.installed

.PHONY: help setup check test test-slow test-engines demo build lock clean

help:  ## What each target does
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

setup: $(STAMP)  ## The Debian packages and the Python environment that everything else needs

$(STAMP): requirements/dev.lock pyproject.toml tools/packages.sh
	$(AS_ROOT) sh tools/packages.sh
	$(PYTHON) -m venv $(VENV)
	# The lock names every package: pip's own look for dependencies would ask for the newest `coverage[toml]`.
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.lock
	$(BIN)/pip check
	touch $@

check: setup  ## Formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: check build  ## Every test but the slow ones
	sh tools/engines.sh docker26
	# Tested is what can be had: one day no Debian will have this version any more.
	-sh tools/pythons.sh
	$(AS_ROOT) $(BIN)/pytest -m "not slow" $(SIDE_BY_SIDE) $(PYTEST_ARGS)
	$(AS_ROOT) $(BIN)/pytest -m "not slow" $(SIDE_BY_SIDE) --engine=docker26 $(ENGINE_TESTS)

test-slow: check build  ## The tests that take minutes
	$(AS_ROOT) $(BIN)/pytest -m slow $(PYTEST_ARGS)

test-engines: setup  ## The integration tests on Docker 26.1 (containerd's store) and on Podman; see docs/engines.md
	sh tools/engines.sh docker26
	$(AS_ROOT) sh tools/engines.sh podman
	$(AS_ROOT) $(BIN)/pytest -m "not slow" $(SIDE_BY_SIDE) --engine=docker26 tests/integration $(PYTEST_ARGS)
	$(AS_ROOT) $(BIN)/pytest -m "not slow" $(SIDE_BY_SIDE) --engine=podman tests/integration $(PYTEST_ARGS)

demo: setup build  ## The main job on real parts, printed as it happens
	$(AS_ROOT) $(BIN)/python -m tests.sandbox.demo

build:  ## The component as the GDK wants it, in greengrass-build/
	$(PYTHON) tools/build.py

lock:  ## Pins the newest versions that pyproject.toml allows (needs uv)
	uv pip compile -q pyproject.toml --universal --python-version 3.10 --generate-hashes --no-emit-index-url \
	  --upgrade --custom-compile-command "make lock" -o requirements/runtime.lock
	uv pip compile -q pyproject.toml --extra dev --universal --python-version 3.10 --generate-hashes --no-emit-index-url \
	  --upgrade --custom-compile-command "make lock" -c requirements/runtime.lock -o requirements/dev.lock

clean:  ## Removes what the other targets made
	rm -rf $(VENV) greengrass-build build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
