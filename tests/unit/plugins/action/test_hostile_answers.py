# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the controller computes from the answers of a host: a result or one sentence, whatever the host answers."""

from __future__ import annotations

import copy
import random
import time
from types import SimpleNamespace
from unittest import mock

import pytest
from ansible.errors import AnsibleActionFail, AnsibleFilterError
from ansible_collections.gpufleet.ollama.plugins.action import changes_info, placement_info
from ansible_collections.gpufleet.ollama.plugins.filter.evidence_lines import evidence_lines
from ansible_collections.gpufleet.ollama.plugins.filter.plan_lines import plan_lines
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import NVML, REQUESTS

from tests.oracle import hosts, models
from tests.unit.plugins.module_utils.changes.builders import applied_host, model, plan, serving
from tests.unit.plugins.module_utils.changes.test_module_result import SETTINGS

#: What takes the place of a part of an answer.
LIES = (
    None,
    True,
    0,
    -1,
    2**63,
    1.5,
    "",
    "x",
    "1",
    "a\nb\x1b[2J\u202e",
    "../../x",
    "x" * 100000,
    [],
    [None],
    ["x"],
    [[]],
    [{}],
    list(range(5000)),
    [{"uuid": "GPU-%d" % number, "name": str(number)} for number in range(2000)],
    {},
    {"x": None},
    {"": {"": []}},
    {"uuid": [], "name": {}},
)
LONGEST_SECONDS = 20


def deep():
    """A value that nests as deep as an answer may."""
    value = {}
    for _level in range(60):
        value = {"x": [value]}
    return value


def places(value, path=()):
    """The paths of all parts of a value."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for number in range(len(value)):
            yield from places(value[number], (*path, number))


def replaced(value, path, lie):
    """A copy of a value with one part replaced."""
    value = copy.deepcopy(value)
    holder = value
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = lie
    return value


def lying(value, count, seed):
    """Copies of a value with one lie in each. Over all seeds, every kind of lie comes to every kind of place."""
    spots = [path for path in places(value) if path]
    lies = [*LIES, deep()]
    chooser = random.Random(seed)
    for number, path in enumerate(chooser.sample(spots, min(count, len(spots)))):
        yield path, replaced(value, path, lies[(number + seed) % len(lies)])


def act(plugin, name, arguments):
    """The result of an action plugin or the message of its failure."""
    task = SimpleNamespace(args=arguments, action="gpufleet.ollama." + name, async_val=0, check_mode=False)
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None), has_native_async=False)
    action = plugin.ActionModule(task, connection, mock.Mock(), None, None, None)
    try:
        return action.run(task_vars={"inventory_hostname": "node1"})
    except AnsibleActionFail as error:
        return str(error)


def in_time(work, what):
    """The result of work(); it fails where that takes longer than anybody waits for a host that lies."""
    start = time.process_time()  # of this process: other programs do not count
    result = work()
    assert time.process_time() - start < LONGEST_SECONDS, what
    return result


WANTED = plan(model())
COMPARED = {
    "settings": SETTINGS,
    "host": dict(applied_host(WANTED), libraries={name: {"own": True, "digest": None} for name in (NVML, REQUESTS)}),
    "plan": WANTED,
    "servers": serving(WANTED),
}
PLANNED = {
    "gpu_inventory": hosts.inventory(hosts.A6000, hosts.A6000),
    "ollama_version": "0.32.15",
    "models": [{"name": "gemma3:27b", "context_length": 8192}],
    "headers": [dict(models.model("gemma3-27b"), name="gemma3:27b")],
}


@pytest.fixture(autouse=True)
def known_libraries(monkeypatch):
    """The digests of the controller's libraries, which take longer to compute than the rest."""
    monkeypatch.setattr(changes_info, "_digest", lambda name: "0" * 64)


@pytest.mark.parametrize("part", ["host", "servers"])
@pytest.mark.parametrize("with_plan", [True, False])
def test_changes_of_a_host_that_lies(part, with_plan):
    assert isinstance(act(changes_info, "changes_info", COMPARED), dict)
    seen = set()
    for path, lie in lying(COMPARED[part], 200, seed=1):
        arguments = dict(COMPARED, **{part: lie})
        if not with_plan:
            arguments["plan"] = None
        result = in_time(lambda given=arguments: act(changes_info, "changes_info", given), path)
        seen.add(type(result))
        assert isinstance(result, dict) or ("\n" not in result and "node1" in result), (path, result)
    assert dict in seen


def test_a_plan_for_gpus_that_are_lies():
    assert act(placement_info, "placement_info", PLANNED)["placement"]["feasible"]
    for path, lie in lying(PLANNED["gpu_inventory"], 100, seed=2):
        arguments = dict(PLANNED, gpu_inventory=lie)
        result = in_time(lambda given=arguments: act(placement_info, "placement_info", given), path)
        if isinstance(result, str):
            assert "\n" not in result, (path, result)
        else:
            plan_lines(result["placement"])


def test_a_plan_from_headers_that_are_lies():
    lies = [*lying(PLANNED["headers"][0], 100, seed=3)]
    lies += [(("head_count",), dict(PLANNED["headers"][0], head_count=many)) for many in (2**62, [2**62] * 62)]
    for path, lie in lies:
        arguments = dict(PLANNED, headers=[lie])
        result = in_time(lambda given=arguments: act(placement_info, "placement_info", given), path)
        assert isinstance(result, dict) or "\n" not in result, (path, result)


def test_a_plan_beside_an_applied_plan_that_is_a_lie():
    applied = act(placement_info, "placement_info", PLANNED)["placement"]
    for path, lie in lying(applied, 100, seed=4):
        arguments = dict(PLANNED, applied_plan=lie)
        result = in_time(lambda given=arguments: act(placement_info, "placement_info", given), path)
        assert isinstance(result, dict) or "\n" not in result, (path, result)


@pytest.mark.parametrize("write", [plan_lines, evidence_lines], ids=["plan", "evidence"])
def test_lines_of_lies(write):
    planned = act(placement_info, "placement_info", PLANNED)["placement"]
    evidence = {
        "verdict": "pass",
        "instances": [
            {
                "name": "gpu0",
                "models": [
                    {
                        "name": "llama3.1:8b",
                        "checks": [{"name": "loaded", "passed": True, "expected": 1, "observed": 1}],
                        "devices": [{"uuid": "GPU-a", "predicted_bytes": 1, "engine_bytes": 2, "observed_bytes": 3}],
                        "layers_offloaded": "33/33",
                    }
                ],
            }
        ],
        "diagnosis": [{"finding": "x", "evidence": "y", "remedy": "z"}],
    }
    data = planned if write is plan_lines else evidence
    for path, lie in lying(data, 300, seed=5):
        try:
            lines = in_time(lambda given=lie: write(given), path)
        except AnsibleFilterError as error:
            assert "\n" not in str(error), (path, error)
        else:
            assert len(lines) <= 2001 and all(line.isprintable() and len(line) <= 4000 for line in lines), path
