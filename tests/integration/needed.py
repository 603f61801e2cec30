# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What tests need of the machine beside Python, and what becomes of a test where that is missing."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

from tests.setup import environment as setup


def not_run(why: str) -> NoReturn:
    """Skip a test that this machine cannot run. With CI=true, which CI services set, it fails: nobody sees there what
    was skipped."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail("NOT RUN, and CI has to run it: %s" % why, pytrace=False)
    pytest.skip("NOT RUN: %s" % why)


def program(name: str, packages: dict[str, str]) -> str:
    """Path of a program of Debian packages {package: a program of it}. Those that this machine does not have are
    unpacked into the cache and not installed: they would start services."""
    try:
        directories = setup.unpacked(packages)
    except (OSError, setup.SetupError) as error:
        not_run("%s is missing: %s" % (name, error))
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", *directories]))
    assert found, name
    return found
