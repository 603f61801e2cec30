# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Runs all tests of ansible-test sanity without ignore entries, with every installed Python."""

from __future__ import annotations

import os
import pathlib
import re

import pytest

from tests.integration.support import CHECKOUT, copy_checkout, environment, run, tool
from tests.setup.environment import CACHE, interpreters

# ansible-test makes environments without pip and then downloads pip; it looks for a cached file of this name first. The
# file may just as well use the pip that the interpreter brings along, and then nothing but a package index is needed.
GET_PIP = (
    'import runpy, sys\nsys.argv = ["ensurepip", "--default-pip"]\nrunpy.run_module("ensurepip", run_name="__main__")\n'
)
PIP_VERSIONS = ("23.1.2", "24.2", "25.2", "25.3")
HOST_PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13")


def home():
    """A home directory for ansible-test, whose environments are kept between runs.

    It has the user's pip configuration.
    """
    place = CACHE / "ansible-test"
    cache = place / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    for version in PIP_VERSIONS:
        (cache / ("get_pip_%s.py" % version.replace(".", "_"))).write_text(GET_PIP, encoding="ascii")
    for name in (".config/pip", ".pip"):
        own = pathlib.Path.home() / name
        link = place / name
        if own.is_dir() and not link.is_symlink() and own != link:
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(own)
    return place


def test_no_ignore_file():
    assert not list((CHECKOUT / "tests").glob("sanity/ignore*"))


def test_sanity(tmp_path):
    tree = tmp_path / "ansible_collections" / "gpufleet" / "ollama"
    copy_checkout(tree)
    run(["git", "init", "--quiet", "."], cwd=tree)
    run(["git", "add", "--all", "."], cwd=tree)
    pythons = {version: path for version, path in interpreters().items() if version in HOST_PYTHONS}
    env = environment(HOME=str(home()))
    # Behind the test environment's own folder: only Pythons of other versions are taken from there.
    env["PATH"] = os.pathsep.join([env["PATH"]] + [str(pathlib.Path(path).parent) for path in pythons.values()])
    output = run(
        [tool("ansible-test"), "sanity", "--venv", "--color", "no"], cwd=tree, env=env, timeout=3600, expect=None
    )
    complaints = [line for line in output.splitlines() if line.startswith(("ERROR:", "FATAL:"))]
    assert not complaints, "\n".join(complaints)
    ran = re.findall(r"^Running sanity test \"([\w-]+)\"", output, re.MULTILINE)
    assert {"compile", "import", "pep8", "pylint", "validate-modules", "yamllint"} <= set(ran)
    missing = [version for version in HOST_PYTHONS if version not in pythons]
    if missing:
        pytest.skip(
            "sanity passed, but compile and import were not run on Python %s, which this machine lacks"
            % ", ".join(missing)
        )
