# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Make the checkout importable as ansible_collections.gpufleet.ollama, wherever it lies, and order the session."""

from __future__ import annotations

import os
import pathlib
import random
import sys
import tempfile

import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
_TREE = tempfile.TemporaryDirectory(prefix="gpufleet-collections-")
_PARENT = pathlib.Path(_TREE.name) / "ansible_collections" / "gpufleet"
_PARENT.mkdir(parents=True)
(_PARENT / "ollama").symlink_to(CHECKOUT)
sys.path.insert(0, _TREE.name)
sys.path.insert(0, str(CHECKOUT))  # tests.rig

from tests import session  # noqa: E402

if "PYTEST_XDIST_WORKER" not in os.environ:
    # Of this session: workers that find tests in the order of a set shall find them in the same one.
    os.environ.setdefault("PYTHONHASHSEED", str(random.randrange(2**32)))
else:
    os.environ["GPUFLEET_SET"] = session.set_of_worker(
        os.environ.get("GPUFLEET_SET", ""), os.environ["PYTEST_XDIST_WORKER"]
    )


def pytest_collection_modifyitems(items):
    """Order the session, in which a file stays together, and leave out what is too long for it."""
    for item in items:
        if item.get_closest_marker("full") and not session.FULL:
            item.add_marker(pytest.mark.skip(reason="NOT RUN: it is long (make test-full, or GPUFLEET_FULL=1)"))
    with_hosts = {item.path for item in items if item.get_closest_marker("hosts")}
    items.sort(
        key=lambda item: session.place(item.path.relative_to(CHECKOUT / "tests").as_posix(), item.path in with_hosts)
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """How many workers "-n auto" means."""
    return session.workers(session.cores())


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Who runs what, where there are workers."""
    return session.scheduler(config, log)


def pytest_terminal_summary(terminalreporter):
    """Tell which files took longest."""
    reports = [report for kind in terminalreporter.stats.values() for report in kind if hasattr(report, "duration")]
    lines = session.longest(report for report in reports if hasattr(report, "when"))
    if lines:
        terminalreporter.section("longest files")
        for line in lines:
            terminalreporter.write_line(line)
