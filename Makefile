# Two commands: `make demo` sets up and runs the demonstration, `make test` sets up and runs the tests.
# The newest supported Python that is found; PYTHON=/path/to/python takes another.
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Three for each core: most of what tests of real processes do is to wait.
WORKERS := $(shell expr 3 '*' "$$(getconf _NPROCESSORS_ONLN || echo 1)")

# Memory that is given out as a folder with room: what tests write there is never waited for.
# Not where programs may not run from it, as in most containers.
ROOMY := $(shell [ -w /dev/shm ] && ! grep -q ' /dev/shm .*noexec' /proc/mounts && \
	[ "$$(df -Pk /dev/shm | awk 'NR == 2 {print $$4}')" -ge 4194304 ] && echo /dev/shm)

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint audit check lock

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 16

$(READY): requirements.lock pyproject.toml
	@python="$$(.ci/pythons newest "$(PYTHON)")" && echo "$(VENV) is made with $$python" && "$$python" -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

setup: $(READY) ## make .venv with every pinned dependency

demo: $(READY) ## specs to videos on disk against the simulator: no key, nothing is paid
	$(BIN)/reconciler demo

test: export PYTHONDONTWRITEBYTECODE := # what each of many processes would compile again is kept
test: export TMPDIR := $(or $(TMPDIR),$(ROOMY))
test: $(READY) ## the whole test suite
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -q

lint: $(READY) ## format, lint, strict types, import contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: $(READY) ## the pinned dependencies against the list of known vulnerabilities (needs the package index)
	$(BIN)/python .ci/audit.py requirements.lock

check: ## all that CI runs
	.ci/run

PIN := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml

lock: ## pin again what pyproject.toml asks for: to develop, the oldest that it allows, and to run (needs uv)
	$(PIN) --group dev -o requirements.lock
	$(PIN) --group dev --resolution lowest-direct -o requirements.lowest.lock
	$(PIN) --constraint requirements.lock -o requirements.runtime.lock
