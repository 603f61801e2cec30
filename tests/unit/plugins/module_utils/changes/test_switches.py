# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which instances are changed together, and in which order."""

from __future__ import annotations

import copy
import random

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.task_loops import work
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import served_name

from tests.unit.plugins.module_utils.changes.builders import (
    EXISTING,
    applied_host,
    described,
    difference,
    entry,
    host,
    model,
    plan,
    serving,
)

GIB = 1024**3
UNIT_DROP_IN = {"path": "/etc/systemd/system/ollama@.service.d/x.conf", "unit": "ollama@.service"}


def on(uuid, name="tiny", size=GIB):
    """A model that holds so many bytes of a GPU."""
    device = {"uuid": uuid, "layers": 33, "total_bytes": size}
    return model(name, predicted={"ubatch": 512, "devices": [device]})


def several(**instances):
    """A plan of {instance: (port, [GPU], [model])}."""
    found = plan()
    found["instances"] = []
    for name, (port, uuids, models) in instances.items():
        (one,) = plan(*models, name=name, port=port)["instances"]
        found["instances"].append(dict(one, gpu_uuids=uuids))
    return found


def replicas(*names, **more):
    """A plan in which each instance serves the same model on a GPU of its own."""
    return several(
        **{name: (11434 + place, ["GPU-" + name], [on("GPU-" + name)]) for place, name in enumerate(names)}, **more
    )


def applied(before):
    """A host on which a plan was applied, with the instances that serve."""
    return applied_host(before)


def made(before, wanted, state=None, changed=None, **settings):
    """The switches from one plan to another; `changed` are instances whose environment differs besides."""
    servers = serving(before)
    for name in changed or ():
        servers[name]["environment"]["differences"] = [{"name": "OLLAMA_X", "difference": "missing"}]
    return difference(wanted, state or applied(before), servers, before, **settings).switches


def instances(found):
    return [list(switch.instances) for switch in found]


def test_an_unchanged_host_has_no_switch():
    wanted = replicas("gpu0", "gpu1")
    assert made(wanted, wanted) == ()


def test_rules_of_who_may_connect_are_loaded_without_a_switch():
    wanted = replicas("gpu0", "gpu1")
    for instance in wanted["instances"]:
        instance["address"] = "0.0.0.0"
    state = applied(wanted)
    first = difference(wanted, state, serving(wanted), wanted, allow_from=("192.0.2.7",))
    assert [switch.restarted for switch in first.switches] == [("gpu0",), ("gpu1",)], "the unit has a line more"
    for file in first.files:
        state["files"][file.path] = described(file)
    found = difference(wanted, state, serving(wanted), wanted, allow_from=("192.0.2.7",))
    assert [change.kind for change in found.changes if change.object != "history"] == ["load"] and not found.switches


def test_the_unit_asks_for_rules_as_long_as_there_are_some():
    wanted = replicas("gpu0")
    wanted["instances"][0]["address"] = "0.0.0.0"
    state, guard = applied(wanted), "ExecStartPre=+/usr/sbin/nft -f /etc/ollama-multigpu/firewall.nft"
    (unit,) = [
        file
        for file in difference(wanted, state, serving(wanted), wanted, allow_from=("192.0.2.7",)).files
        if file.path == paths.TEMPLATE_UNIT_FILE
    ]
    assert guard in unit.content.splitlines() and "IPAddressDeny=link-local multicast\n" in unit.content
    on_cable = difference(wanted, state, serving(wanted), wanted, allow_from=("169.254.1.7",)).files
    assert ["IPAddressDeny=multicast\n" in file.content for file in on_cable if file.path == unit.path] == [True]
    state["files"][unit.path] = described(unit)
    (without,) = difference(wanted, state, serving(wanted), wanted).files
    assert without.path == unit.path and "nft" not in without.content


def test_ports_of_a_run_that_was_killed_stay_closed():
    """One instance has been started on a port of its plan, another still has that of the applied plan."""
    before, killed, wanted = (several(gpu0=(port, ["GPU-a"], [on("GPU-a")])) for port in (1, 2, 3))
    for one in (before, killed, wanted):
        one["instances"][0]["address"] = "0.0.0.0"
    state = dict(applied(before), instances=[entry("gpu0", plan=killed)])
    found = difference(wanted, state, serving(before), before, allow_from=("192.0.2.7",))
    rules = {file.stage: file.content for file in found.files if file.path == paths.FIREWALL_RULES}
    assert "dport { 1, 2, 3 }" in rules["guard"] and "dport { 3 }" in rules["finish"]
    tasks = work(found, wanted, {})
    assert tasks["load_firewall"] and tasks["narrow_firewall"] and not tasks["remove_firewall"]
    assert paths.FIREWALL_RULES in [file["path"] for file in tasks["firewall_files"]]
    assert paths.FIREWALL_RULES in [file["path"] for file in tasks["finish_files"]]
    switched = [file["path"] for switch in tasks["switches"] for file in switch["files"]]
    assert paths.TEMPLATE_UNIT_FILE in switched and paths.FIREWALL_RULES not in switched


def test_replicas_are_changed_one_after_the_other_and_the_untouched_are_in_no_switch():
    wanted = replicas("gpu0", "gpu1", "gpu2")
    found = made(wanted, wanted, changed=["gpu2", "gpu0"])
    assert instances(found) == [["gpu0"], ["gpu2"]]
    assert [switch.restarted for switch in found] == [("gpu0",), ("gpu2",)]
    assert {change.instance for change in found[0].changes} == {"gpu0"}


def test_a_release_is_changed_instance_by_instance_and_the_unit_file_belongs_to_the_first():
    before = replicas("gpu0", "gpu1")
    state = applied(before)
    for name in ("gpu0", "gpu1"):
        state["files"][paths.instance_release(name)]["target"] = "../releases/0.32.14"
    state["files"][paths.TEMPLATE_UNIT_FILE]["digest"] = "0" * 64
    found = made(before, before, state)
    assert instances(found) == [["gpu0"], ["gpu1"]]
    assert [file.path for file in found[0].files] == [paths.TEMPLATE_UNIT_FILE, paths.instance_release("gpu0")]
    assert [file.path for file in found[1].files] == [paths.instance_release("gpu1")]


def test_where_only_a_model_changes_nothing_is_restarted():
    before = replicas("gpu0", "gpu1")
    servers = serving(before)
    servers["gpu1"]["loaded"] = []
    (switch,) = difference(before, applied(before), servers).switches
    assert (switch.instances, switch.restarted, switch.files) == (("gpu1",), (), ())
    assert {state.instance for state in switch.models} == {"gpu1"}


def test_instances_that_are_regrouped_are_one_switch_and_others_are_not_in_it():
    before = replicas("gpu0", "gpu1", "gpu2")
    wanted = several(
        **{
            "gpu0-1": (11434, ["GPU-gpu0", "GPU-gpu1"], [on("GPU-gpu0", "big")]),
            "gpu2": (11436, ["GPU-gpu2"], [on("GPU-gpu2")]),
        }
    )
    (switch,) = made(before, wanted)
    assert (switch.instances, switch.stopped) == (("gpu0-1",), ("ollama@gpu0.service", "ollama@gpu1.service"))
    gone = {paths.environment_file("gpu0"), paths.instance_release("gpu1")}
    assert gone <= {file.path for file in switch.files if file.state == "absent"}


def test_ports_that_are_exchanged_are_one_switch():
    before = replicas("gpu0", "gpu1", "gpu2")
    wanted = copy.deepcopy(before)
    for one, port in zip(wanted["instances"], (11435, 11434, 11436), strict=True):
        one.update(port=port, url="http://127.0.0.1:%d" % port, environment={"OLLAMA_HOST": "127.0.0.1:%d" % port})
    assert instances(made(before, wanted, changed=["gpu0", "gpu1", "gpu2"])) == [["gpu0", "gpu1"], ["gpu2"]]


def test_a_port_that_moves_on_takes_its_neighbours_along():
    """gpu0 gets the port of gpu1, which gets that of gpu2: a chain."""
    before = replicas("gpu0", "gpu1", "gpu2")
    wanted = copy.deepcopy(before)
    for one, port in zip(wanted["instances"], (11435, 11436, 11437), strict=True):
        one.update(port=port, url="http://127.0.0.1:%d" % port, environment={"OLLAMA_HOST": "127.0.0.1:%d" % port})
    assert instances(made(before, wanted, changed=["gpu0", "gpu1", "gpu2"])) == [["gpu0", "gpu1", "gpu2"]]


@pytest.mark.parametrize("size, together", [(GIB, False), (2 * GIB, True)])
def test_instances_on_one_gpu_are_changed_together_only_where_one_of_them_needs_other_memory(size, together):
    before = several(a=(11434, ["GPU-x"], [on("GPU-x", "m1")]), b=(11435, ["GPU-x"], [on("GPU-x", "m2")]))
    wanted = several(a=(11434, ["GPU-x"], [on("GPU-x", "m1", size)]), b=(11435, ["GPU-x"], [on("GPU-x", "m2")]))
    found = instances(made(before, wanted, changed=["a", "b"]))
    assert found == ([["a", "b"]] if together else [["a"], ["b"]])


@pytest.mark.parametrize("active", [False, True])
def test_the_first_run_of_a_host_is_one_switch(active):
    """Also one after a run that was killed: what it started is in no plan."""
    wanted = replicas("gpu0", "gpu1")
    state = host(instances=[entry("gpu1", active=active)])
    (switch,) = difference(wanted, state, {}).switches
    assert switch.instances == ("gpu0", "gpu1") and paths.TEMPLATE_UNIT_FILE in [file.path for file in switch.files]


def test_an_ollama_that_is_adopted_makes_all_instances_one_switch_and_stops_first():
    wanted = replicas("gpu0", "gpu1")
    state = host(existing=EXISTING, command="foreign")
    (switch,) = difference(wanted, state, {}, adopt=True).switches
    assert switch.instances == ("gpu0", "gpu1") and switch.stopped == ("ollama.service",)


def test_what_serves_nothing_is_changed_first():
    before = replicas("gpu0", "gpu1")
    state = applied(before)
    state["instances"][1]["active"] = False
    servers = serving(before)
    servers["gpu1"] = dict(servers["gpu1"], unit=None, reachable=False)
    servers["gpu0"]["environment"]["differences"] = [{"name": "OLLAMA_X", "difference": "missing"}]
    assert instances(difference(before, state, servers, before).switches) == [["gpu1"], ["gpu0"]]


def test_a_model_moves_to_its_new_place_before_it_leaves_the_old_one():
    before = several(gpu0=(11434, ["A"], [on("A", "m1")]), gpu1=(11435, ["B"], [on("B", "m2")]))
    wanted = several(gpu0=(11434, ["A"], [on("A", "m3")]), gpu1=(11435, ["B"], [on("B", "m2"), on("B", "m1")]))
    assert instances(made(before, wanted, changed=["gpu0", "gpu1"])) == [["gpu1"], ["gpu0"]]


def test_an_instance_that_goes_for_good_goes_last():
    before = replicas("gpu0", "gpu1")
    wanted = copy.deepcopy(before)
    del wanted["instances"][0]
    found = made(before, wanted, changed=["gpu1"])
    assert [(switch.instances, switch.stopped) for switch in found] == [(("gpu1",), ()), ((), ("ollama@gpu0.service",))]


def test_what_belongs_to_no_instance_is_in_the_first_switch_or_in_one_of_its_own():
    wanted = replicas("gpu0", "gpu1")
    found = made(wanted, wanted, applied_host(wanted, drop_ins=[UNIT_DROP_IN]), changed=["gpu0", "gpu1"])
    assert UNIT_DROP_IN["path"] in [file.path for file in found[0].files] and len(found) == 2
    state = applied(wanted)
    state["files"][paths.TEMPLATE_UNIT_FILE]["mode"] = "0600"
    (alone,) = made(wanted, wanted, state)
    assert alone.instances == () and [file.path for file in alone.files] == [paths.TEMPLATE_UNIT_FILE]


@pytest.mark.parametrize("seed", range(30))
def test_with_replicas_a_model_is_served_at_every_moment(seed):
    """Whatever changes: a model that two instances serve, before or after, is served by one that is not changed now, as
    long as they are in different switches and an order exists that keeps it."""
    chance = random.Random(seed)
    names = ["gpu%d" % number for number in range(4)]
    pool = ["m1", "m2"]
    before = several(
        **{name: (11434 + place, [name], [on(name, chance.choice(pool))]) for place, name in enumerate(names)}
    )
    wanted = copy.deepcopy(before)
    for one in wanted["instances"]:
        if chance.random() < 0.4:
            one["models"] = [on(one["gpu_uuids"][0], chance.choice(pool))]
    found = made(before, wanted, changed=names)
    assert sorted(name for switch in found for name in switch.instances) == names
    then = {one["name"]: {served_name(model) for model in one["models"]} for one in wanted["instances"]}
    now = {one["name"]: {served_name(model) for model in one["models"]} for one in before["instances"]}
    for key in pool:
        # Two instances that serve it before, or before and after: one of them can always wait for the other.
        lasting = [name for name in names if key in now[name] and key in then[name]]
        if len(lasting) < 2:
            continue
        serves = dict(now)
        for switch in found:
            for name in switch.instances:
                serves[name] = set()
            assert any(key in served for served in serves.values()), (seed, key, instances(found))
            for name in switch.instances:
                serves[name] = then[name]
