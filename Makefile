# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
#
# Every target first installs what is missing on this machine (tests/setup/environment.py).

ENV = tests/setup/with-env
HOSTS = tests/setup/with-env --hosts
PYTEST = python -m pytest
# One test more at the same time than there are cores (tests/session.py). What took longest is told at the end.
WORKERS = -n auto --durations=25

.PHONY: help demo test test-full units lint sanity molecule real engine gpu bench build clean

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):  *## /  make \1\t/p' Makefile

demo:  ## run the collection on two hosts with simulated GPUs; with every detail: make demo OPTIONS=-v
	@$(HOSTS) tests/demo/run $(OPTIONS)

test:  ## run all tests below except real, engine, gpu and bench, in one pytest session
	@$(HOSTS) $(PYTEST) $(WORKERS) tests

test-full:  ## run test, and the tests that are too long for it
	@GPUFLEET_FULL=1 $(HOSTS) $(PYTEST) $(WORKERS) tests

units:  ## run the unit tests and the comparison with the engine (tests/oracle)
	@$(ENV) $(PYTEST) $(WORKERS) tests/unit tests/oracle

lint:  ## run ansible-lint, yamllint, ruff, mypy and galaxy-importer, build the documentation
	@$(ENV) $(PYTEST) tests/integration/test_lint.py tests/integration/test_importer.py tests/integration/test_docs.py

sanity:  ## run ansible-test sanity with every Python that is installed
	@$(ENV) $(PYTEST) tests/integration/test_sanity.py

molecule:  ## run the scenarios; only one: make molecule SCENARIO=drift
	@$(HOSTS) $(PYTEST) $(WORKERS) tests/integration/test_scenarios.py $(if $(SCENARIO),-k "[$(SCENARIO)]")

real:  ## run the scenarios with a real Ollama: make real OLLAMA_ARCHIVE=path (without it: the double, packed as a release)
	@GPUFLEET_REAL=1 $(HOSTS) $(PYTEST) $(WORKERS) tests/integration/test_real.py $(if $(SCENARIO),-k "[$(SCENARIO)]")

engine:  ## run a small real model on Debian's llama-server (as root; downloads 253 MB once): measuring, prediction, a generation
	@GPUFLEET_ENGINE=1 $(ENV) --engine $(PYTEST) -s tests/integration/test_engine.py

gpu:  ## compare gpu_facts with nvidia-smi on this machine's GPUs, and measure an Ollama that has a model on them
	@$(ENV) $(PYTEST) tests/integration/test_gpu_lane.py

bench:  ## measure all claimed figures and compare them with their limits
	@$(HOSTS) python tests/bench/run.py

build:  ## build the archive in build/
	@$(ENV) ansible-galaxy collection build --force --output-path build

clean:  ## remove the files that the targets created, and the hosts of the demo
	@if [ -d tests/rig/hosts ] && command -v podman >/dev/null; then $(ENV) python -m tests.rig --set demo down || true; fi
	rm -rf build collections .ansible .cache .pytest_cache .hypothesis tests/output
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
