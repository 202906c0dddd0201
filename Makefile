# The one entry point: people, CI and hooks run the same targets, and each sets up what it needs.
# `make demo` and `make test` work on a fresh Debian or Ubuntu with Python 3.11+, make and git.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# The first interpreter that PyTorch has wheels for; set PYTHON to choose another.
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null \
	&& { echo $$name; break; }; done)

# Passed on to the program behind demo, run, test, bench, soak and demo-model.
ARGS ?=
# Which build of PyTorch: cuda is what pip finds by itself (2.7 GB), cpu takes 0.2 GB; another word
# goes to uv as its --torch-backend, e.g. cu126 for an older driver.
HAS_DRIVER := command -v nvidia-smi >/dev/null || [ -e /proc/driver/nvidia/version ] || [ -e /usr/lib/wsl/lib/nvidia-smi ]
TORCH ?= $(shell if [ "$$(uname)" != Linux ] || $(HAS_DRIVER); then echo cuda; else echo cpu; fi)
# Options for pip when it installs PyTorch, in place of that, e.g. a package index of your own.
TORCH_ARGS ?=
# Which Home Assistants test-homeassistant runs against; see tests/homeassistant/environments.py.
VERSIONS ?= 2024.3.3 2024.12.5 2026.2.3
# A git repository with Frigate's releases, for test-frigate.
FRIGATE_SOURCE ?= https://github.com/blakeblackshear/frigate
FRIGATE_VENV := .venv-frigate
# The same with LLM Vision's, for test-clients.
LLMVISION_SOURCE ?= https://github.com/valentinfrlch/ha-llmvision
# One file of bench/ without its .py; empty runs them all.
BENCH ?=

# Hundreds of processes are started: none compiles anew what another has compiled.
export PYTHONDONTWRITEBYTECODE :=

# Debian keeps mosquitto in a folder that an ordinary user's PATH lacks.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin

APT := export DEBIAN_FRONTEND=noninteractive; apt-get update -q && apt-get install -qy --no-install-recommends
IS_APT_ROOT := [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null

.PHONY: help setup demo run test test-model test-service test-integration-1 test-integration-2 test-integration-3 test-acceptance test-others test-homeassistant test-frigate test-clients test-pythons check quick unit-others lint types imports format bench gpu-report soak demo-model docs pictures clean homeassistant-schema

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make the environment: virtual environment, packages, Mosquitto.

demo: $(READY) ## Show the service at work on drawn cameras; ARGS="--frames 12" ends by itself.
	$(BIN)/moondream2mqtt demo $(ARGS)

run: $(READY) ## Run the service with config.yaml, or with defaults where there is none.
	$(BIN)/moondream2mqtt serve $(ARGS)

# Half the time of tests with real brokers and processes is waiting, so one run more than there are
# cores shares them. Each is shown when it has ended; the longest begin, and the model's, which
# hardly waits, goes beside those that do.
JOBS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))
TEST_RUNS := test-model test-integration-1 test-integration-2 test-service test-others test-acceptance test-integration-3
SIDE_BY_SIDE = $(MAKE) --no-print-directory -k -j$(JOBS) --output-sync=target

test: $(READY) ## Run every test; with ARGS, what pytest makes of them.
ifeq ($(strip $(ARGS)),)
	@echo "$(JOBS) runs side by side; each is shown when it has ended, after some minutes"
	@$(SIDE_BY_SIDE) $(TEST_RUNS)
else
	$(BIN)/python -m pytest $(ARGS)
endif

PYTEST := $(BIN)/python -m pytest -q
# What computes: the model, what it is trained with and the process that runs it.
MODEL_TESTS := tests/model tests/unit/bench tests/unit/demo tests/unit/engine tests/unit/moondream2

test-model: $(READY)
	$(PYTEST) $(MODEL_TESTS)

test-service: $(READY)
	$(PYTEST) tests/unit/service

test-acceptance: $(READY)
	$(PYTEST) tests/acceptance

test-integration-1: $(READY)
	$(PYTEST) tests/integration/test_[a-f]*.py

test-integration-2: $(READY)
	$(PYTEST) tests/integration/test_[g-r]*.py

test-integration-3: $(READY)
	$(PYTEST) tests/integration/test_[s-z]*.py

# Whatever is in none of the others.
test-others: $(READY)
	$(PYTEST) tests $(addprefix --ignore=,tests/integration tests/acceptance tests/unit/service $(MODEL_TESTS))

# Home Assistant's own checks of discovery messages, without the hundred packages around them.
SCHEMA := .venv-homeassistant-schema

homeassistant-schema: $(SCHEMA)/.ready ## Environment in which discovery messages are checked.

$(SCHEMA)/.ready: tests/homeassistant/schema.txt | $(READY)
	[ -x $(SCHEMA)/bin/python ] || $(PYTHON) -m venv $(SCHEMA)
	$(SCHEMA)/bin/python -m pip install -q --disable-pip-version-check -r $<
	$(SCHEMA)/bin/python -m pip install -q --disable-pip-version-check --no-deps \
		--ignore-requires-python homeassistant==2026.2.3
	touch $@

test-homeassistant: $(READY) $(SCHEMA)/.ready ## Try the service with real Home Assistants; VERSIONS=2026.2.3 with one.
	$(BIN)/python -m tests.homeassistant.environments $(VERSIONS)
	HOMEASSISTANT_VERSIONS="$(VERSIONS)" $(BIN)/python -m pytest -q -rfE tests/homeassistant $(ARGS)

test-frigate: $(READY) $(FRIGATE_VENV)/.ready ## Descriptions into Frigate's real application, three releases; 600 MB.
	FRIGATE_SOURCE="$(FRIGATE_SOURCE)" $(BIN)/python -m pytest -q tests/frigate $(ARGS)

test-clients: $(READY) $(FRIGATE_VENV)/.ready ## Frigate's and LLM Vision's own client code against the gateway; 600 MB.
	FRIGATE_SOURCE="$(FRIGATE_SOURCE)" LLMVISION_SOURCE="$(LLMVISION_SOURCE)" $(BIN)/python -m pytest -q tests/clients $(ARGS)

test-pythons: $(READY) ## Run the tests on every Python from 3.11 to 3.14 that is installed; ARGS as for test.
	$(BIN)/python -m tests.pythons $(ARGS)

# Types are one more run beside those of the tests.
check: lint ## Everything a change must pass.
	@echo "$(JOBS) runs side by side; each is shown when it has ended, after some minutes"
	@$(SIDE_BY_SIDE) $(TEST_RUNS) types imports

quick: $(READY) ## What is known of a change in a minute: lint, types, imports and unit, side by side.
	@$(SIDE_BY_SIDE) test-service unit-others lint types imports

unit-others: $(READY)
	$(PYTEST) tests/unit --ignore=tests/unit/service

lint: $(READY) ## Rules and layout of the code.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) ## Types, strictly.
	$(BIN)/mypy

imports: $(READY) ## Who may import whom.
	$(BIN)/lint-imports

format: $(READY) ## Lay the code out and mend what can be mended by itself.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## Measure and print; BENCH=engine runs one, ARGS goes to it.
	@for name in $(or $(BENCH),$(basename $(notdir $(filter-out bench/_% bench/gpu_report.py,$(wildcard bench/*.py))))); do \
		echo "== $$name"; $(BIN)/python -m bench.$$name $(ARGS); done

gpu-report: $(READY) ## What a GPU has to tell, in nine minutes; ARGS="--out report.json", or --quick on any machine.
	$(BIN)/python -m bench.gpu_report $(ARGS)

soak: $(READY) ## Kills, all hostile messages in every way, then load; ARGS="load --minutes 60" or "--memory 3600".
	$(BIN)/python -m tests.soak $(ARGS)

demo-model: $(READY) ## Train the demonstration model again, from its seed.
	$(BIN)/python -m demo.training.train $(ARGS)

docs: $(READY) ## Write the reference parts of the documentation anew from the code.
	$(BIN)/python -m tests.docs.reference

# The user interface that belongs to this Home Assistant.
FRONTEND := home-assistant-frontend==20260128.6

pictures: $(READY) ## Take the pictures of the documentation anew; needs Chromium.
	$(BIN)/python -m tests.docs.pictures
	$(BIN)/python -m tests.page.pictures
	$(BIN)/python -m tests.homeassistant.environments 2026.2.3
	.venv-homeassistant-2026.2.3/bin/python -m pip install -q --disable-pip-version-check $(FRONTEND)
	$(BIN)/python -m tests.homeassistant.picture

clean: ## Remove the environments and all caches; data/ stays.
	rm -rf $(VENV) $(FRIGATE_VENV) .venv-python3.* .venv-homeassistant-* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

INSTALL := $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt

# The file is written last, so an interrupted set-up is taken up again. PyTorch comes first and
# alone: its options must not apply to the other packages. Its other builds are in an index of its
# own, which uv knows; once one is there, pip leaves it.
$(READY): pyproject.toml constraints.txt
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 to 3.14 is needed: install python3 (Debian 12, Ubuntu 24.04 or newer)." >&2; exit 1; }
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
		version=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		if $(IS_APT_ROOT); then $(APT) python$$version-venv; \
		else echo "Python lacks its venv module: sudo apt-get install python$$version-venv" >&2; exit 1; fi; fi
	@if ! command -v mosquitto >/dev/null || ! command -v mosquitto_pub >/dev/null; then \
		{ $(IS_APT_ROOT) && ( $(APT) mosquitto mosquitto-clients ); } || \
		echo "Mosquitto is missing: sudo apt-get install mosquitto mosquitto-clients (until then the" \
			"demonstration uses a broker in Python, and tests that need Mosquitto are skipped)"; fi
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
ifeq ($(TORCH_ARGS)$(filter cuda,$(TORCH)),)
	@{ $(INSTALL) uv && $(BIN)/uv pip install -q --python $(BIN)/python --torch-backend=$(TORCH) \
		-c constraints.txt torch==2.13.0; } 2>$(VENV)/uv.log || echo "PyTorch's build for $(TORCH)" \
		"could not be had, see $(VENV)/uv.log: what pip finds is installed, up to 2.7 GB"
endif
	$(INSTALL) $(TORCH_ARGS) torch==2.13.0
	$(INSTALL) -e '.[dev]'
	$(INSTALL) --no-deps moondream==2.6.1
	touch $@

# What Frigate's application needs, and nothing of ours; its oldest release wants two older packages.
$(FRIGATE_VENV)/.ready: tests/frigate/requirements.txt tests/frigate/requirements-0.16.txt
	[ -x $(FRIGATE_VENV)/bin/python ] || $(PYTHON) -m venv $(FRIGATE_VENV)
	$(FRIGATE_VENV)/bin/python -m pip install -q --disable-pip-version-check -r tests/frigate/requirements.txt
	$(FRIGATE_VENV)/bin/python -m pip install -q --disable-pip-version-check --no-deps --upgrade --target $(FRIGATE_VENV)/older -r tests/frigate/requirements-0.16.txt
	touch $@
