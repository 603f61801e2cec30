# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The order of the session, and what its workers share."""

from __future__ import annotations

import pathlib
import types

import pytest

from tests import session

INTEGRATION = sorted(
    "integration/" + path.name
    for path in (pathlib.Path(__file__).resolve().parents[1] / "integration").glob("test_*.py")
)


def with_hosts(path):
    path = pathlib.Path(__file__).resolve().parents[1] / path
    return path.exists() and "mark.hosts" in path.read_text(encoding="utf-8")


def test_units_come_first_and_hosts_last():
    paths = [*INTEGRATION, "unit/plugins/test_x.py", "oracle/test_y.py"]
    ordered = sorted(paths, key=lambda path: session.place(path, with_hosts(path)))
    assert ordered[:2] == ["unit/plugins/test_x.py", "oracle/test_y.py"]
    hosts = [with_hosts(path) for path in ordered]
    assert hosts == sorted(hosts) and True in hosts


def test_every_file_of_the_order_is_there_on_its_side():
    middle = session.ORDER.index(session.OTHERS)
    for number, start in enumerate(session.ORDER[2:], 2):
        paths = [path for path in INTEGRATION if path.startswith(start)]
        assert paths or start in (session.OTHERS, session.OTHERS_WITH_HOSTS), start
        assert {with_hosts(path) for path in paths} <= {number > middle}, start


@pytest.mark.parametrize("path", ["tests/unit/test_a.py", "tests/integration/test_acceptance_plan.py"])
def test_a_file_is_run_by_one_worker(path):
    assert {session.part(path + "::test_one"), session.part(path + "::test_two[a::b]")} == {path}


def test_scenarios_are_shared_by_all_workers():
    names = ["tests/integration/test_scenarios.py::test_scenario[%s]" % name for name in ("drift", "liar")]
    assert [session.part(name) for name in names] == names


@pytest.mark.parametrize("cores, workers", [(1, 2), (2, 3), (3, 4), (64, session.MOST_WORKERS)])
def test_workers(cores, workers):
    assert session.workers(cores) == workers and session.cores() >= 1


@pytest.mark.parametrize("given, name", [("", "test-gw0"), ("mine", "mine-gw0")])
def test_each_worker_has_hosts_of_its_own(given, name):
    assert session.set_of_worker(given, "gw0") == name


class Node:
    """A worker that runs nothing: what it was given, and what it has done."""

    shutting_down = False

    def __init__(self, name):
        self.gateway = types.SimpleNamespace(id=name)
        self.given, self.done = [], 0

    def send_runtest_some(self, indices):
        self.given += indices

    def shutdown(self):
        self.shutting_down = True


def test_parts_are_given_out_in_their_order_and_none_waits_behind_a_long_one(pytestconfig):
    pytest.importorskip("xdist")
    ids = ["tests/%s.py::test_%d" % (name, number) for name in "abcde" for number in range(2)]
    option = types.SimpleNamespace(tx=["popen", "popen"], rsyncdir=[], loadscopereorder=True)
    config = types.SimpleNamespace(option=option, getvalue=lambda name: getattr(option, name))
    giving = session.scheduler(config, None)
    one, two = Node("one"), Node("two")
    for node in (one, two):
        giving.add_node(node)
        giving.add_node_collection(node, ids)
    giving.schedule()
    assert (one.given, two.given) == ([0, 1], [2, 3])
    giving.mark_test_complete(one, 0)
    # The last test of a part cannot begin before its worker knows what comes next.
    assert (one.given, two.given) == ([0, 1, 4, 5], [2, 3])
    giving.mark_test_complete(one, 1)
    giving.mark_test_complete(one, 4)
    assert (one.given, two.given) == ([0, 1, 4, 5, 6, 7], [2, 3])
    giving.mark_test_complete(two, 2)
    assert two.given == [2, 3, 8, 9] and not one.shutting_down
    giving.mark_test_complete(two, 3)
    giving.mark_test_complete(one, 5)
    assert one.shutting_down and two.shutting_down


def test_the_longest_files_are_told():
    reports = [
        types.SimpleNamespace(nodeid="tests/unit/test_%s.py::test_x" % name, duration=seconds)
        for name, seconds in (("a", 6.0), ("b", 60.0), ("a", 6.0), ("c", 1.0))
    ]
    assert session.longest(reports) == ["    60s tests/unit/test_b.py", "    12s tests/unit/test_a.py"]
