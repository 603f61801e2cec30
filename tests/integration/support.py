# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Helpers that run commands on the collection as a user does and report failures briefly."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from tests.integration.first_failure import first_failure

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
SCENARIOS = CHECKOUT / "extensions" / "molecule"
TAIL = 60


def scenarios():
    """Names of the Molecule scenarios that are there."""
    return sorted(path.parent.name for path in SCENARIOS.glob("*/molecule.yml"))


def module_names():
    """Names of the collection's modules, from the files."""
    return sorted(path.stem for path in (CHECKOUT / "plugins" / "modules").glob("*.py") if path.stem != "__init__")


def galaxy():
    """Content of galaxy.yml."""
    return yaml.safe_load((CHECKOUT / "galaxy.yml").read_text(encoding="utf-8"))


def tool(name):
    """Path of a program of the test environment; the test fails with the remedy when it is missing."""
    beside = pathlib.Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        pytest.fail("%s is not installed here: run the tests by 'make test', which prepares the environment." % name)
    return found


def environment(collections=None, **more):
    """Environment for a command that sees only the given collections (a path or a list of paths).

    Neither the checkout nor the user's own Ansible configuration is visible.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ANSIBLE_", "MOLECULE_", "PYTEST_")) and name != "PYTHONPATH"
    }
    kept["PATH"] = os.pathsep.join([str(pathlib.Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    kept["ANSIBLE_NOCOLOR"] = "1"
    kept["LC_ALL"] = "C.UTF-8"
    if collections:
        kept["ANSIBLE_COLLECTIONS_PATH"] = os.pathsep.join(
            str(path) for path in (collections if isinstance(collections, list) else [collections])
        )
    kept.update(more)
    return kept


def run(command, cwd, env=None, timeout=900, expect=0):
    """Run a command and return its output (stdout and stderr in order).

    Another exit status than expected fails the test with the first failed task and the end of the output.
    """
    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=str(cwd),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        pytest.fail(
            "%s did not end within %d s\n%s"
            % (command[0], timeout, failure_report((error.stdout or b"").decode("utf-8", "replace"))),
            pytrace=False,
        )
    output = done.stdout.decode("utf-8", "replace")
    if expect is not None and done.returncode != expect:
        pytest.fail(
            "%s: exit code %d\n%s" % (" ".join(str(part) for part in command), done.returncode, failure_report(output)),
            pytrace=False,
        )
    return output


def tail(text, lines=TAIL):
    """The last lines of an output."""
    return "\n".join(text.splitlines()[-lines:])


def failure_report(output):
    """The first failed task of an output, if it is one of Ansible, and the last lines."""
    output = re.sub("\x1b\\[[0-9;]*m", "", output)  # colors
    first = first_failure(output)
    return "The first failed task:\n%s\n\nThe end of the output:\n%s" % (first, tail(output)) if first else tail(output)


def checkout_files():
    """Relative paths of the files of the checkout that git tracks or would track."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=str(CHECKOUT),
        stdout=subprocess.PIPE,
        check=True,
    )
    names = [name for name in listed.stdout.decode("utf-8").split("\0") if name]
    return [name for name in sorted(set(names)) if (CHECKOUT / name).exists()]


def copy_checkout(target, keep=lambda name: True):
    """Copy the checkout's files (those whose relative path keep() accepts) below target."""
    for name in filter(keep, checkout_files()):
        place = pathlib.Path(target) / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(str(CHECKOUT / name), str(place), follow_symlinks=False)


def molecule(name, collections, scratch, **variables):
    """Run 'molecule test' for one scenario on the installed collection, with the files of Molecule below scratch."""
    from tests.rig.hosts.ansible import collections as rig_collections

    path = [collections, rig_collections(say=lambda text: None)]
    env = environment(
        path, MOLECULE_EPHEMERAL_DIRECTORY=str(scratch / "molecule"), ANSIBLE_HOME=str(scratch / "ansible"), **variables
    )
    if "OLLAMA_ARCHIVE" not in variables:
        env.pop("OLLAMA_ARCHIVE", None)
    return run(
        # Borders would break the lines of Ansible's output at 80 columns.
        [tool("molecule"), "--base-config", SCENARIOS / "config.yml", "test", "--no-command-borders", "-s", name],
        cwd=CHECKOUT,
        env=env,
        timeout=5400,  # a busy machine takes ten times as long as an idle one
    )
