# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""ansible-lint in its strictest profile, yamllint, shellcheck, ruff and mypy."""

from __future__ import annotations

import pytest

from tests.integration.support import CHECKOUT, checkout_files, copy_checkout, environment, run, tool


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy at the path where Ansible looks for collections, so that lint resolves the collection's own names."""
    place = tmp_path_factory.mktemp("lint") / "ansible_collections" / "gpufleet" / "ollama"
    copy_checkout(place)
    run(["git", "init", "--quiet", "."], cwd=place)
    run(["git", "add", "--all", "."], cwd=place)
    return place


def test_ansible_lint_production(tree):
    env = environment(collections=tree.parents[2])
    output = run(
        [tool("ansible-lint"), "--offline", "--profile", "production", "--strict", "--nocolor"], cwd=tree, env=env
    )
    assert "'production' was required, and it passed" in output


def test_yamllint(tree):
    run([tool("yamllint"), "--strict", "."], cwd=tree, env=environment())


def test_shellcheck():
    scripts = []
    for name in checkout_files():
        path = CHECKOUT / name
        if (
            path.is_file()
            and not path.is_symlink()
            and path.read_bytes()[:64].split(b"\n")[0] in (b"#!/bin/sh", b"#!/usr/bin/env bash", b"#!/bin/bash")
        ):
            scripts.append(name)
    assert "tests/setup/with-env" in scripts
    run([tool("shellcheck")] + scripts, cwd=CHECKOUT, env=environment())


def test_ruff_check():
    run([tool("ruff"), "check", "--output-format", "concise"], cwd=CHECKOUT, env=environment())


def test_ruff_format():
    run([tool("ruff"), "format", "--check"], cwd=CHECKOUT, env=environment())


def test_mypy():
    """Annotations of plugins/module_utils; the configuration is mypy.ini."""
    output = run([tool("mypy"), "--no-color-output"], cwd=CHECKOUT, env=environment())
    assert "no issues found" in output
