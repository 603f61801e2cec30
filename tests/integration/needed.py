# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What tests need of the machine beside Python, and what becomes of a test where that is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
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


def podman_hosts() -> None:
    """Return where the hosts of the rig can run on this machine."""
    if not shutil.which("podman", path=os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin"):
        not_run("podman is missing: it is not installed (make test installs it where it may)")
    if os.geteuid() != 0 and _fails("sudo", "-n", "true"):
        not_run("podman hosts with systemd need root, and sudo asks for a password here")


def _fails(*command: str) -> bool:
    return bool(subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode)
