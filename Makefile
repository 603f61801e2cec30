# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
#
# Every target prepares the machine first (tests/setup/environment.py): once, saying what it does.

ENV = tests/setup/with-env
HOSTS = tests/setup/with-env --hosts
PYTEST = python -m pytest

.PHONY: help demo test units lint sanity molecule real gpu bench build clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):  *## /  make \1\t/p' Makefile

demo:  ## two hosts with simulated GPUs, from nothing to the evidence
	@$(HOSTS) tests/demo/run

test:  ## everything below but real, gpu and bench, as one pytest session
	@$(HOSTS) $(PYTEST) tests

units:  ## unit tests and the memory oracle
	@$(ENV) $(PYTEST) tests/unit tests/oracle

lint:  ## ansible-lint, yamllint, ruff, mypy, galaxy-importer and the documentation
	@$(ENV) $(PYTEST) tests/integration/test_lint.py tests/integration/test_importer.py tests/integration/test_docs.py

sanity:  ## ansible-test sanity, on every Python found
	@$(ENV) $(PYTEST) tests/integration/test_sanity.py

molecule:  ## the scenarios; one of them: make molecule SCENARIO=drift
	@$(HOSTS) $(PYTEST) tests/integration/test_scenarios.py $(if $(SCENARIO),-k "[$(SCENARIO)]")

real:  ## the scenarios with a real Ollama: make real OLLAMA_ARCHIVE=path
	@$(HOSTS) $(PYTEST) tests/integration/test_real.py

gpu:  ## gpu_facts on this machine's GPU against nvidia-smi
	@$(ENV) $(PYTEST) tests/integration/test_gpu_lane.py

bench:  ## every figure that is claimed, measured in one run and held against its limit
	@$(ENV) python tests/bench/run.py

build:  ## the archive, in build/
	@$(ENV) ansible-galaxy collection build --force --output-path build

clean:  ## removes what the targets left in the checkout and takes down the rig
	@if [ -d tests/rig/hosts ] && command -v podman >/dev/null; then $(ENV) python -m tests.rig --set demo down || true; fi
	rm -rf build collections .ansible .cache .pytest_cache .hypothesis tests/output
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
