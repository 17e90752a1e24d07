# Everything runs in .venv of this checkout; nothing is installed outside of it. `make` alone lists the targets.

PYTHON ?= python3
UV ?= uv
N ?= 100
ONLY ?=
ALL ?=
IN_VENV := .venv/bin/python
INSTALL := $(IN_VENV) -m pip install --quiet --disable-pip-version-check --no-input --require-hashes --only-binary :all:
LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command "make lock" pyproject.toml

# Tests wait for half of their time, so three processes keep a processor busy; each starts servers of its own.
IN_PARALLEL := --numprocesses=6 --dist=worksteal

# A virtual environment whose Python is gone (uninstalled, upgraded) is made anew.
WITHOUT_PYTHON := $(shell $(IN_VENV) -c "" 2>/dev/null || echo without-python)

# What belongs to another Python installation must not be seen by the one in .venv.
unexport PYTHONPATH
unexport PYTHONHOME

# Without byte code on the disk each of the many processes of a test run would compile the whole program again.
unexport PYTHONDONTWRITEBYTECODE

# What pip downloads stays in the checkout, too, unless somebody has another place for it.
export PIP_CACHE_DIR ?= $(CURDIR)/.cache/pip

.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help venv demo env-example test lint types dashboard-types mutants crash model differential lock bench bench-small clean without-python

help:
	@echo "make demo         see it at work: own PostgreSQL, own S3 server, nothing else touched"
	@echo "make test         the whole test suite, against real servers"
	@echo "make lint         ruff: rules and format"
	@echo "make types        mypy --strict"
	@echo "make dashboard-types  check the dashboard against Grafana's schema (needs npm's registry)"
	@echo "make mutants      take the chief safety checks away in turn: the tests must turn red (ALL=1: every check;"
	@echo "                  ONLY=fencing: those with this in their name)"
	@echo "make crash        kill runs at random moments and check what is left (N=1000: so many times)"
	@echo "make model        play histories of the protocol until one loses something (N=1000000: so many of them)"
	@echo "make differential  make differentials of random databases, restore and compare them (N=1000: so many)"
	@echo "make venv         only the virtual environment, with what the demo needs"
	@echo "make lock         choose the newest versions anew (needs uv)"
	@echo "make env-example  write .env.example and the tables of settings from their declarations"
	@echo "make bench        every benchmark beside other programs, in full: hours (writes benchmarks/RESULTS.md)"
	@echo "make bench-small  the same in a minute, in sizes that show that they work"
	@echo "make clean        remove .venv, caches and the demo's data"
	@echo "Another Python (3.11 or newer): make clean, then make PYTHON=python3.12 demo"

venv: .venv/demo.stamp

demo: .venv/demo.stamp
	@$(IN_VENV) janitor_daemon.py demo

test: .venv/test.stamp
	@echo "Running the tests"
	@$(IN_VENV) -m pytest $(IN_PARALLEL)

lint: .venv/test.stamp
	@echo "Checking rules and format"
	@$(IN_VENV) -m ruff check .
	@$(IN_VENV) -m ruff format --check .

types: .venv/test.stamp
	@echo "Checking types"
	@$(IN_VENV) -m mypy .

mutants: .venv/test.stamp
	@$(IN_VENV) -m tests.guards $(if $(ONLY),--only "$(ONLY)",$(if $(ALL),,--mandatory))

dashboard-types: .venv/test.stamp
	@$(IN_VENV) -m tests.monitoring.dashboard_types

crash: .venv/test.stamp
	@$(IN_VENV) -m tests.crash --count $(N)

model: .venv/test.stamp
	@$(IN_VENV) -m tests.model --count $(N)

differential: .venv/test.stamp
	@$(IN_VENV) -m tests.jobs.backups.rounds --count $(N)

bench: .venv/test.stamp
	@$(IN_VENV) -m benchmarks

bench-small: .venv/test.stamp
	@test -f benchmarks/__main__.py || { echo "There is no benchmark in this checkout" >&2; exit 1; }
	@$(IN_VENV) -m benchmarks --small

env-example: .venv/test.stamp
	@$(IN_VENV) -m tools.settings_documents

# The three agree: a version is chosen once, for production, and kept by the other two.
lock:
	@command -v $(UV) >/dev/null || { echo "make lock needs uv: pip install uv, or make UV=/path/to/uv lock" >&2; exit 1; }
	$(LOCK) --upgrade --output-file requirements.lock
	$(LOCK) --upgrade --extra demo --constraint requirements.lock --output-file requirements-demo.lock
	$(LOCK) --upgrade --extra test --constraint requirements-demo.lock --output-file requirements-test.lock

clean:
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache build dist janitor_daemon.egg-info demo-data

.venv/created.stamp: $(WITHOUT_PYTHON)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo not there)." >&2; \
		echo "If you have one under another name: make PYTHON=python3.12 demo" >&2; exit 1; }
	@echo "Making a virtual environment in .venv ($$($(PYTHON) --version))"
	@$(PYTHON) -m venv --clear .venv || { rm -rf .venv; \
		echo "Python's module venv does not work (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@touch $@

.venv/demo.stamp: requirements-demo.lock .venv/created.stamp
	@echo "Installing the packages of requirements-demo.lock"
	@$(INSTALL) -r requirements-demo.lock
	@touch $@

.venv/test.stamp: requirements-test.lock .venv/created.stamp
	@echo "Installing the packages of requirements-test.lock"
	@$(INSTALL) -r requirements-test.lock
	@touch $@ .venv/demo.stamp
