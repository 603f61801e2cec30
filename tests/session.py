# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The order of the tests, their distribution to workers (pytest-xdist), and how long each file took."""

from __future__ import annotations

import os
from collections.abc import Iterable

#: Whether make test-full runs: the tests with the mark `full` are not skipped. Tests that do more then read this, too.
FULL = bool(os.environ.get("GPUFLEET_FULL"))
#: Workers at most: each can have some ten hosts.
MOST_WORKERS = 4
#: Where files stand in ORDER that it does not name: those without hosts, and those with hosts.
OTHERS, OTHERS_WITH_HOSTS = "(others)", "(others with hosts)"
#: Beginnings of paths below tests/. Fast things first: a typing error should not wait for ansible-test, nor one of
#: ansible-test for the hosts. Of the files with hosts, the longest come first and the shortest last, so that all
#: workers end at about the same time.
ORDER = (
    "unit/",
    "oracle/",
    "integration/test_archive",
    "integration/test_docs",
    "integration/test_lint",
    "integration/test_importer",
    "integration/test_gpu_lane",
    "integration/test_sanity",
    OTHERS,
    "integration/test_rig_hosts",
    "integration/test_acceptance_secrets",
    "integration/test_acceptance_kill",
    "integration/test_acceptance_reboot",
    "integration/test_acceptance_rollback",
    "integration/test_acceptance_switch",
    OTHERS_WITH_HOSTS,
    "integration/test_scenarios",
    "integration/test_real",
    "integration/test_acceptance_moved",
    "integration/test_acceptance_environment",
)
#: Files whose tests have nothing in common, so that several workers can share them. All others have hosts, or other
#: things, that their tests use one after the other.
SHARED = ("integration/test_cores", "integration/test_scenarios", "integration/test_real")
#: Longest files that are told at the end, and how long they take at least.
TOLD, TOLD_SECONDS = 25, 10


def place(path: str, hosts: bool) -> int:
    """Where a test comes in the session.

    Args:
        path: of its file, relative to tests/.
        hosts: whether it needs hosts.
    """
    named = (number for number, start in enumerate(ORDER) if path.startswith(start))
    return next(named, ORDER.index(OTHERS_WITH_HOSTS if hosts else OTHERS))


def part(nodeid: str) -> str:
    """What one worker runs as a whole: the file of a test, or the test itself if it has nothing in common with others.

    Args:
        nodeid: the name that pytest has for the test, "tests/unit/test_shape.py::test_a_room".
    """
    path = nodeid.partition("::")[0]
    return nodeid if path.removeprefix("tests/").startswith(SHARED) else path


def workers(cores: int) -> int:
    """How many workers a machine runs: one more than it has cores, because each waits for its hosts now and then."""
    return min(cores + 1, MOST_WORKERS)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_of_worker(given: str, worker: str) -> str:
    """The set of rig hosts of a worker, so that workers leave the hosts of one another alone.

    Args:
        given: what GPUFLEET_SET says, "" if it says nothing.
        worker: its name, "gw0".
    """
    return "%s-%s" % (given or "test", worker)


def scheduler(config, log):
    """Give the parts out in their order. No worker has more than the test that it runs and the next one, or a part.

    Args:
        config: the configuration of pytest.
        log: where pytest-xdist tells what it does.
    """
    from xdist.scheduler import LoadScopeScheduling

    class InOrder(LoadScopeScheduling):
        """Parts instead of classes and modules; the next one as late as possible, so that none waits in vain."""

        def _split_scope(self, nodeid):
            return part(nodeid)

        def _reschedule(self, node):
            if not self.workqueue or self._pending_of(self.assigned_work[node]) <= 1:
                super()._reschedule(node)

    config.option.loadscopereorder = False
    return InOrder(config, log)


def longest(reports: Iterable) -> list[str]:
    """Lines that name the files that took longest, of the reports of all tests."""
    seconds: dict[str, float] = {}
    for report in reports:
        name = part(report.nodeid)
        seconds[name] = seconds.get(name, 0.0) + report.duration
    ordered = sorted(seconds.items(), key=lambda item: -item[1])[:TOLD]
    return ["%6.0fs %s" % (took, name) for name, took in ordered if took >= TOLD_SECONDS]
