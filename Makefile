# Reelmill's tasks. On a bare machine with Python 3.11+, gcc and make, each target sets up what it needs.
# `make` alone lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SAMPLES := .cache/samples
UPPY := .cache/uppy
HLSJS := .cache/hlsjs
DYNALITE := .cache/dynalite
VIDEO ?= $(REELMILL_DEMO_VIDEO)
ARGS ?=
# `make chaos LONG=1` also runs what is marked `long`.
MARKS := $(if $(LONG),,-m "not long")
# Test files are shared out to three processes, for many wait; CORES= (nothing) runs them one after the other.
CORES ?= -n 3 --dist loadfile
NPM := PATH="$(CURDIR)/$(BIN):$$PATH" npm --prefix web
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

export PYTHONUNBUFFERED := 1
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
WEB := src/reelmill/web/index.html
.PHONY: help setup web e2e screenshots samples players uppy hlsjs dynalite weights run demo demo-cluster test lint format bench chaos mutants lock docs clean

help:  ## list the tasks
	@echo "Reelmill — make TASK"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' Makefile

setup: $(READY)  ## make .venv with everything that is needed to run and develop
	@echo "$(VENV) is ready."

$(READY): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Reelmill needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version 2>&1)."; \
	  echo "Name a newer one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "Setting up $(VENV): about a minute the first time …"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --quiet --require-hashes -r requirements-dev.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

web: $(WEB)  ## build the web UI into the package, if its sources have changed

$(WEB): web/node_modules/.ready web/index.html web/vite.config.ts $(shell find web/src web/public -type f 2>/dev/null)
	@$(NPM) run build --silent -- --logLevel warn
	@touch $@

web/node_modules/.ready: web/package-lock.json | $(READY)
	@$(NPM) ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

samples: $(READY)  ## fetch the sample films that demo and tests use
	@$(BIN)/python scripts/fetch_samples.py $(SAMPLES)

players:  ## install Chromium and the system's own ffmpeg, in which the tests play what was made, and emoji in colours
	@command -v chromium >/dev/null && test -x /usr/bin/ffmpeg && \
	  test -f /usr/share/fonts/truetype/noto/NotoColorEmoji.ttf || { \
	  command -v apt-get >/dev/null || { echo "The tests play clips in Chromium and in the system's ffmpeg: install both, and fonts-noto-color-emoji."; exit 1; }; \
	  echo "Installing chromium, ffmpeg and fonts-noto-color-emoji for the tests …"; \
	  SUDO=$$(test "$$(id -u)" = 0 || echo sudo); \
	  $$SUDO apt-get update -qq && $$SUDO env DEBIAN_FRONTEND=noninteractive \
	    apt-get install -y -qq --no-install-recommends chromium ffmpeg fonts-noto-color-emoji >/dev/null; }

uppy: $(UPPY)/.ready  ## install the real Uppy, by which a page uploads in the tests

$(UPPY)/.ready: tests/uppy/package-lock.json | $(READY)
	@mkdir -p $(UPPY)
	@cp tests/uppy/package.json tests/uppy/package-lock.json $(UPPY)
	@PATH="$(CURDIR)/$(BIN):$$PATH" npm --prefix $(UPPY) ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

hlsjs: $(HLSJS)/.ready  ## install the real hls.js, by which a page plays in the tests

$(HLSJS)/.ready: tests/hlsjs/package-lock.json | $(READY)
	@mkdir -p $(HLSJS)
	@cp tests/hlsjs/package.json tests/hlsjs/package-lock.json $(HLSJS)
	@PATH="$(CURDIR)/$(BIN):$$PATH" npm --prefix $(HLSJS) ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

dynalite: $(DYNALITE)/.ready  ## install the server that speaks DynamoDB, for the store's tests

$(DYNALITE)/.ready: tests/dynalite/package-lock.json | $(READY)
	@mkdir -p $(DYNALITE)
	@cp tests/dynalite/package.json tests/dynalite/package-lock.json $(DYNALITE)
	@PATH="$(CURDIR)/$(BIN):$$PATH" npm --prefix $(DYNALITE) ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

weights: $(READY)  ## fetch the small models with which the tests write and listen
	@$(BIN)/python scripts/fetch_samples.py --model $(SAMPLES)

run: $(READY) web  ## start the platform on this machine
	@$(BIN)/reelmill serve $(ARGS)

demo: $(READY) web  ## cut a film into checked clips through a real server, into ./demo; VIDEO=FILE takes yours
ifeq ($(VIDEO),)
	@$(BIN)/python scripts/fetch_samples.py $(SAMPLES) || echo "So the demo makes a film by itself."
	@$(BIN)/reelmill demo $(ARGS) $$(ls $(SAMPLES)/trailer_bbb.mp4 2>/dev/null)
else
	@$(BIN)/reelmill demo $(ARGS) "$(VIDEO)"
endif

demo-cluster: $(READY) samples  ## run the demo on a local cluster: PostgreSQL, Valkey, SeaweedFS, API, two workers
	@folder=$$(mktemp -d /var/tmp/reelmill-cluster-XXXXXX); \
	  trap '$(BIN)/reelmill cluster down --delete --folder "$$folder/cluster"; rm -rf "$$folder"' EXIT; \
	  chmod 711 "$$folder"; \
	  $(BIN)/reelmill cluster up --workers 2 --folder "$$folder/cluster" && \
	  url=$$($(BIN)/reelmill cluster up --workers 2 --folder "$$folder/cluster" --json | \
	    $(BIN)/python -c 'import json, sys; print(json.load(sys.stdin)["url"])') && \
	  $(BIN)/reelmill demo --url "$$url" --data "$$folder/cluster/data" $(ARGS) $$(ls $(SAMPLES)/trailer_bbb.mp4 2>/dev/null)

test: web samples players uppy hlsjs dynalite weights  ## run the whole test suite; ARGS="-k upload" picks some
	@$(BIN)/python -m pytest $(MARKS) $(CORES) $(ARGS)

e2e: web players samples  ## run the tests of the web UI in a real browser
	@$(NPM) test --silent
	@$(BIN)/python -m pytest tests/e2e -k test_web $(ARGS)

screenshots: web players samples  ## make docs/pictures/ui of a server that runs real jobs
	@$(BIN)/python scripts/screenshots.py $(ARGS)

lint: web/node_modules/.ready  ## check style, formatting, types, import rules and the rules of the house
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { $(BIN)/ruff format --check .; exit 1; }
	@$(BIN)/mypy --no-error-summary
	@out=$$($(BIN)/lint-imports 2>&1) || { echo "$$out"; exit 1; }
	@$(BIN)/python scripts/check_house.py
	@$(NPM) run check --silent
	@$(NPM) test --silent >/dev/null 2>&1 || { $(NPM) test --silent; exit 1; }
	@$(NPM) run types --silent -- --check >/dev/null 2>&1 || { echo "web/src/api/schema.d.ts is stale: run make docs"; exit 1; }
	@echo "lint: all good"

format: $(READY)  ## put the code into shape
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet .

bench: samples  ## run every benchmark, half an hour on two cores; JSON goes to .cache/bench
	@set -e; for name in clips moviepy smart texts reading requests signing handing_out ranges direct_uploads engine claiming fleet cluster proxy renditions analysis reuse; do \
	  echo "── benchmarks/$$name.py"; \
	  $(BIN)/python benchmarks/$$name.py --json .cache/bench/$$name.json $(ARGS); done

chaos: samples dynalite  ## kill servers and workers at random moments; LONG=1 for the long form
	@$(BIN)/python -m pytest tests/chaos $(MARKS) $(if $(LONG),--timeout 0) $(ARGS)

mutants: $(READY)  ## take away one guard at a time and see the tests fail
	@$(BIN)/python scripts/mutants.py

# Each lock is compiled for every supported system at once, with hashes and without host names.
COMPILE = $(BIN)/uv pip compile pyproject.toml --extra celery --extra dynamodb --extra gemini --extra otel --extra postgres --extra s3 --extra voice --universal --python-version 3.11 \
	--generate-hashes --no-header --no-annotate --quiet $(UPGRADE)

lock: $(READY)  ## renew the locks after a change in pyproject.toml; UPGRADE=--upgrade takes newer versions
	@$(BIN)/python -c 'import uv' 2>/dev/null || $(PIP) install --quiet uv
	@$(COMPILE) --output-file requirements.lock >/dev/null
	@# hatchling and editables build the package itself; setuptools reads the samples' source package
	@printf 'hatchling>=1.27\neditables\nsetuptools>=80\n' | \
	  $(COMPILE) - --group dev --constraint requirements.lock --output-file requirements-dev.lock >/dev/null
	@echo "requirements.lock and requirements-dev.lock are up to date."

docs: web/node_modules/.ready  ## write docs/reference and docs/pictures from the code
	@$(BIN)/python scripts/openapi.py
	@$(NPM) run types --silent >/dev/null
	@$(BIN)/python scripts/reference.py
	@$(BIN)/python scripts/text_sheet.py

clean:  ## remove everything that make made; data folders stay
	@rm -rf $(VENV) .cache demo build dist web/node_modules src/reelmill/web .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
	@find . -name '*.egg-info' -type d -not -path './.git/*' -prune -exec rm -rf {} +
