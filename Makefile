# Needs Python 3.11 or later, make and a package index; everything else goes into $(VENV).
#
# Each set of extras has a stamp file in the virtual environment, newer than pyproject.toml when the
# set is installed, so a second `make run` starts at once. The package itself is installed editable.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

HOST ?= 127.0.0.1
PORT ?= 8000
VENV ?= .venv
TEST_ARGS ?=
# Processes to test with; a file's tests stay together, as some count threads and descriptors.
TEST_JOBS ?= 2
BENCH_ARGS ?=
COMPARE_ARGS ?=
# How long `make soak` takes, and what repeats its choices.
MINUTES ?= 10
SEED ?=
# WORKERS and THREADS have their defaults in the example.
export HOST PORT

# A name on PATH proves nothing (version managers put stand-ins there): ask it to run.
PROBE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
ifndef PYTHON
PYTHON := $(shell for p in python3 python3.15 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$p" -c '$(PROBE)' >/dev/null 2>&1 && echo "$$p" && break; done)
endif
# With a t at its end for a free-threaded build. Part of the stamp's name, so that another interpreter
# makes the environment anew.
TELL := import platform, sysconfig; \
	print(platform.python_version() + "t" * bool(sysconfig.get_config_var("Py_GIL_DISABLED")))
VERSION := $(shell "$(PYTHON)" -c '$(TELL)' 2>/dev/null)
FREE_THREADED := $(filter %t,$(VERSION))

PY := $(VENV)/bin/python
LOCK := requirements-dev.lock
MADE := $(VENV)/.made-$(VERSION)
PIP := $(PY) -m pip install --quiet --disable-pip-version-check

ifdef LOCKED
# With the versions of the lock file, as far as this Python has wheels for them.
PIP += --constraint $(LOCK)
endif

ifdef FREE_THREADED
# Older releases may have the wheels that the newest does not have.
PIP += --prefer-binary
# Otherwise an import of an extension that was not made for this switches the GIL on, with a warning.
test: export PYTHON_GIL ?= 0
endif
# The name of the extra that an environment for this is made with.
extra = $(if $(FREE_THREADED),$(patsubst test,test-free-threaded,$1),$1)

.PHONY: help run run-django run-cluster test test-all coverage upstream soak check audit lock format bench compare docs build release-check clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  HOST, PORT, WORKERS, THREADS (run, run-...), PYTHON, PYTHONS (test-all), VENV, TEST_JOBS, TEST_ARGS,"
	@echo "  BENCH_ARGS, COMPARE_ARGS, MINUTES and SEED (soak) and LOCKED can be set."

run: $(VENV)/.extra-example ## Serve the example with gunicorn on http://127.0.0.1:8000
	@echo "The status board is at http://$(HOST):$(PORT), on the threads of a LoopThreadWorker (Ctrl-C stops it)"
	@exec $(PY) -m gunicorn --config example_app/gunicorn.conf.py example_app.app:app

run-django: $(VENV)/.extra-example ## Serve the same board as a Django project, likewise
	@$(PY) django_example/manage.py migrate --verbosity 0
	@echo "The status board in Django is at http://$(HOST):$(PORT), on the threads of a LoopThreadWorker (Ctrl-C stops it)"
	@exec $(PY) -m gunicorn --config django_example/gunicorn.conf.py

run-cluster: $(VENV)/.extra-cluster ## Serve the board by nginx, two gunicorns and a Celery worker
	@exec $(PY) -m example_app.cluster

test: $(VENV)/.extra-test ## Run all tests
	$(PY) -X dev -m pytest -n $(TEST_JOBS) --dist loadfile $(TEST_ARGS)

test-all: ## Run all tests on each of Python 3.11 to 3.15, free-threaded too, that is found
	@MAKE="$(MAKE)" .ci/test-all $(TEST_ARGS)

coverage: export COVERAGE_FILE = $(abspath $(VENV))/coverage/data
coverage: $(VENV)/.extra-coverage ## Run all tests, and list the lines that none of them runs
	@rm -rf $(dir $(COVERAGE_FILE)) && mkdir -p $(dir $(COVERAGE_FILE))
	$(PY) -X dev -m coverage run -m pytest -n $(TEST_JOBS) --dist loadfile $(TEST_ARGS)
	@$(PY) -m coverage combine --quiet
	$(PY) -m coverage report

upstream: $(VENV)/.extra-test ## Run the own tests of asgiref, Flask and Django with wsgi_async in place
	set -e; for project in asgiref flask django; do for resident in '' --resident; do \
		PYTHON=$(abspath $(PY)) .ci/upstream $$resident $$project; done; done

soak: $(VENV)/.extra-test ## Load real servers with faults for MINUTES, and report in soak-report
	@$(PY) -m tests.soak --minutes $(MINUTES) --seed "$(SEED)" --report soak-report

check: $(VENV)/.extra-check ## Lint, check the format, the layers and the types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(VENV)/bin/lint-imports
	$(PY) -m mypy
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(PY) -m pyright --pythonpath $(PY)

audit: $(VENV)/.extra-audit ## Look up the dependencies of the lock file among known vulnerabilities
	$(PY) -m pip_audit --strict --no-deps --disable-pip --requirement $(LOCK)

lock: $(VENV)/.extra-check ## Write what is installed for the development into the lock file
	@{ echo "# Written by make lock, with Python $(VERSION). Install with it as --constraint."; \
		$(PY) -m pip --disable-pip-version-check freeze --exclude-editable; } > $(LOCK).new
	@! grep -E '://| @ ' $(LOCK).new  # no address of a registry or of a file
	@mv $(LOCK).new $(LOCK)

format: $(VENV)/.extra-check ## Format the code and fix what the linter can fix
	$(PY) -m ruff check --fix-only .
	$(PY) -m ruff format .

bench: $(VENV)/.extra-bench $(VENV)/.extra-compare ## Measure and compare, and write benchmarks/results
	$(PY) -m benchmarks $(BENCH_ARGS)
	$(PY) -m benchmarks.comparison $(COMPARE_ARGS)

compare: $(VENV)/.extra-compare ## Only compare with other frameworks and servers
	$(PY) -m benchmarks.comparison $(COMPARE_ARGS)

docs: $(VENV)/.extra-docs ## Build the documentation's site into site
	$(PY) -m sphinx -W --keep-going -q -E -d $(VENV)/.doctrees docs site
	@echo "The site is in site: open site/index.html"

build: $(VENV)/.extra-build ## Build the wheel and the sdist into dist, and check them
	rm -rf dist
	$(PY) -m build --outdir dist .
	$(PY) -m twine check --strict dist/*

release-check: ## Name the placeholders that a release must not have
	@.ci/release-check

clean: ## Remove the virtual environments and everything that was built
	rm -rf .venv .venv-* $(VENV) build dist site soak-report .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(MADE):
	@test -n "$(VERSION)" || { echo "No Python 3.11 or later with venv found; set PYTHON=/path/to/python" >&2; exit 1; }
	@if test -e $(VENV) && ! ls $(VENV)/.made-* >/dev/null 2>&1; then \
		echo "$(VENV) was not made by this Makefile; remove it or set VENV" >&2; exit 1; fi
	@echo "Making $(VENV) with Python $(VERSION)"
	@rm -rf $(VENV) && mkdir -p $(VENV) && touch $(VENV)/.made-partly
	@"$(PYTHON)" -m venv $(VENV)
	@mv $(VENV)/.made-partly $@ && touch $@

$(VENV)/.extra-%: $(MADE) pyproject.toml
	@echo "Installing .[$(call extra,$*)] into $(VENV)"
	@$(PIP) --editable '.[$(call extra,$*)]'
	@touch $@
