# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A host that serves a model on two GPUs, whose driver is then broken in every way that the rig's NVML library knows.

Whatever breaks: the plan is the one that is applied, or there is none, with the fault and a remedy. Then nothing is
stopped and nothing deleted, with allow_cpu_offload on as well.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from tests.rig.gpus import state as gpu_state
from tests.rig.gpus.build import build_nvml
from tests.unit.plugins.module_utils.changes import builders as hosts
from tests.unit.plugins.module_utils.placement.builders import plan, settings_of, sized

pytest.importorskip("pynvml")

PRESET = "rtx-4090-x2"
#: Reads the facts once for each state file that is named on the standard input, with a PCI bus that is made up.
READ = """
import json, os, sys
from ansible_collections.gpufleet.ollama.plugins.module_utils.gpu import host_memory, nvml, schema, sysfs
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import proc
sysfs.PCI, unit, ours = sys.argv[1:4]
proc.unit_of = lambda pid: unit if pid == int(ours) else None
ours_on_host = [schema.UnitMemory(unit, 2**28, 1)] if unit else []
host_memory.read = lambda: schema.HostMemory(2**40, 2**40, 0, 0, ours_on_host)  # not that of the machine that tests
for path in json.load(sys.stdin):
    os.environ["GPU_RIG_STATE"] = path
    print(json.dumps(nvml.read_inventory(0.5 if "hangs" in path else 60)[0]))
"""
#: Functions of the library; a fault of the name without a version counts for all versions.
SOURCE = pathlib.Path(gpu_state.__file__).with_name("nvml.c").read_text()
FUNCTIONS = sorted(
    {re.sub(r"_v\d$", "", name) for name in re.findall(r"\bnvml(?:Device|System)\w+", SOURCE)}
    | {"nvmlDeviceGet%sRunningProcesses" % kind for kind in ("Compute", "MPSCompute", "Graphics")}
)
CODES = (3, 4, 6, 10, 13, 15, 16, 20, 999)
FAULTS = {
    **{"nvmlInit %d" % code: {"fault.nvmlInit": code} for code in (1, 2, 4, 6, 8, 9, 12, 15, 17, 18, 41, 999)},
    **{"%s %d" % (name, code): {"fault." + name: code} for name in FUNCTIONS for code in CODES},
    **{"%s %d on gpu1" % (name, code): {"gpu1.fault." + name: code} for name in FUNCTIONS for code in CODES},
    **{"%s 4 on gpu1 itself" % name: {"gpu1.own.fault." + name: 4} for name in FUNCTIONS},
    **{"gpu1 %d" % code: {"gpu1.fault": code} for code in (3, 4, 15, 16, 999)},
    "no memory of processes": {"processes.bytes": "unknown"},
    "no processes listed": {"processes.hidden": 1},
    "no GPU listed": {"gpus": 0},
    "one GPU listed": {"gpus": 1},
    "init hangs": {"delay.nvmlInit": 60000},
    "count hangs": {"delay.nvmlDeviceGetCount": 60000},
    "memory hangs": {"gpu1.delay.nvmlDeviceGetMemoryInfo": 60000},
    "debugger": {"gpu0.compute_mode": 2},
    "exclusive and in use": {"gpu0.compute_mode": 3, "gpu0.process.1": "1000000 C cuda-gdb"},
    "MIG without devices": {"gpu0.mig": 1},
    "MIG with a device": {
        "gpu0.mig": 1,
        "gpu0.mig.max": 7,
        "gpu0.mig.0.uuid": "MIG-1",
        "gpu0.mig.0.gi": 1,
        "gpu0.mig.0.ci": 0,
        "gpu0.mig.0.memory.total": 10 * 1024**3,
        "gpu0.mig.0.memory.base": 0,
    },
    "ECC errors": {"gpu0.ecc": 1, "gpu0.ecc.volatile": 3},
    "row remapping failed": {"gpu0.remapped": "0 0 0 1"},
    "reset wanted": {"gpu0.recovery_action": 1},
}
#: Faults that no plan may be made under, so that the test cannot pass because every plan is the applied one.
REFUSED = {
    *("nvmlInit %d" % code for code in (4, 9, 12, 17, 18, 999)),
    *(
        "%s 15 on gpu1" % name
        for name in ("nvmlDeviceGetHandleByIndex", "nvmlDeviceGetUUID", "nvmlDeviceGetMemoryInfo")
    ),
    "nvmlDeviceGetCount 999",
    "nvmlDeviceGetComputeRunningProcesses 999 on gpu1",
    *("gpu1 %d" % code for code in (4, 15, 16, 999)),
    *("no GPU listed", "one GPU listed", "init hangs", "count hangs", "debugger", "exclusive and in use"),
    *("MIG without devices", "MIG with a device", "ECC errors", "row remapping failed", "reset wanted"),
}


def bus(directory, *addresses):
    """A directory like /sys/bus/pci/devices with NVIDIA's GPUs at these addresses."""
    directory.mkdir()
    for address in addresses:
        (directory / address).mkdir()
        (directory / address / "vendor").write_text("0x10de\n")
        (directory / address / "class").write_text("0x030200\n")
    return directory


def read(directory, pci, unit, states):
    """The facts of a host for each of these states: {name: facts}."""
    paths = {}
    for number, (name, changes) in enumerate(states.items()):
        path = directory / ("state%d%s" % (number, "-hangs" if "hangs" in name else ""))
        with gpu_state.edit(str(path), new=True) as content:
            content.update(gpu_state.preset(PRESET))
            content.update({key: str(value) for key, value in changes.items()})
        paths[name] = str(path)
    library = build_nvml(directory / "nvml").parent
    answer = subprocess.run(
        [sys.executable, "-c", READ, str(pci), unit, str(os.getpid())],
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path), LD_LIBRARY_PATH=str(library)),
        input=json.dumps(list(paths.values())),
        text=True,
        stdout=subprocess.PIPE,
        check=True,
        timeout=300,
    )
    return dict(zip(paths, map(json.loads, answer.stdout.splitlines())))


def wanted(**settings):
    return sized("big:30g", 30, context_length=4096, **settings)


@pytest.fixture(name="serving", scope="module")
def _serving(tmp_path_factory):
    """({allow_cpu_offload: the applied plan}, {fault: facts} of the host that serves it)."""
    directory = tmp_path_factory.mktemp("broken")
    addresses = [gpu["pci"] for gpu in gpu_state.gpus(gpu_state.preset(PRESET))]
    pci = bus(directory / "pci", *addresses)
    (directory / "before").mkdir()
    empty = read(directory / "before", pci, "", {"": {}})[""]
    applied = {allow: plan(empty, wanted(allow_cpu_offload=allow)) for allow in (False, True)}
    before = applied[True]
    (instance,) = before["instances"]
    held = {device["uuid"]: device["total_bytes"] for device in instance["models"][0]["predicted"]["devices"]}
    assert len(held) == 2 and before["feasible"]
    pid = os.getpid()
    loaded = {
        "gpu%d.process.%d" % (place, pid): "%d C llama-server" % held[gpu["uuid"]]
        for place, gpu in enumerate(before["gpus"])
    }
    states = {name: {**loaded, **changes} for name, changes in FAULTS.items()}
    return applied, read(directory, pci, instance["unit"], {"": loaded, **states})


def outcome(applied, facts, allow):
    return plan(facts, wanted(allow_cpu_offload=allow), applied_plan=applied[allow])


def test_without_a_fault_the_plan_is_the_applied_one(serving):
    applied, read_facts = serving
    for allow, before in applied.items():
        after = outcome(applied, read_facts[""], allow)
        assert after["feasible"] and settings_of(after) == settings_of(before) and after["steps_down"] == []


@pytest.mark.parametrize("allow", [False, True])
def test_whatever_breaks_nothing_is_stopped_and_nothing_deleted(serving, allow):
    applied, read_facts = serving
    before, refused, plans = applied[allow], set(), {}
    for name in FAULTS:
        same = json.dumps(read_facts[name], sort_keys=True)
        after = plans[same] = plans.get(same) or outcome(applied, read_facts[name], allow)
        if after["feasible"]:
            assert settings_of(after) == settings_of(before) and after["steps_down"] == [], name
            continue
        refused.add(name)
        (model,) = after["models"]
        assert after["instances"] == [] and model["reason"].endswith(".") and model["remedies"], name
        state = hosts.applied_host(before, instances=[hosts.entry(item["name"]) for item in before["instances"]])
        changes = hosts.difference(after, state)
        assert changes.changes == () and changes.files == () and changes.models == (), name
        (obstacle,) = changes.obstacles
        assert model["reason"] in obstacle and all(remedy.rstrip(".") in obstacle for remedy in model["remedies"]), name
    assert refused >= REFUSED, REFUSED - refused


@pytest.mark.parametrize(
    "fault, words",
    [
        (
            "nvmlInit 18",
            ["version_mismatch", "different versions", "Reboot the host", "what serves now stays as it is"],
        ),
        ("nvmlInit 9", ["driver_not_loaded", "a GPU|GPUs are on the PCI bus", "modprobe nvidia"]),
        ("nvmlInit 12", ["no_library", "libnvidia-ml.so.1", "user space of the NVIDIA driver"]),
        ("nvmlInit 4", ["no_permission", "become"]),
        ("init hangs", ["timeout", "no answer within 0.5 seconds", "hung driver"]),
        ("no GPU listed", ["no_devices", "on the PCI bus", "lspci"]),
        (
            "one GPU listed",
            ["the driver does not list it", "the PCI bus has GPUs that the driver does not list", "Xid"],
        ),
        ("gpu1 15", ["fallen off the bus", "reboot the host"]),
        ("debugger", ["compute mode is prohibited", "nvidia-smi"]),
        ("exclusive and in use", ["exclusive compute mode", "process 1", "end that process"]),
        ("MIG with a device", ["MIG was switched on", "nvidia-smi -mig 0"]),
        ("nvmlDeviceGetComputeRunningProcesses 999 on gpu1", ["fails to tell its processes", "nvidia-smi"]),
    ],
)
def test_the_fault_and_its_remedy_are_named(serving, fault, words):
    applied, read_facts = serving
    (model,) = outcome(applied, read_facts[fault], True)["models"]
    text = " ".join([model["reason"], *model["remedies"]])
    for word in words:
        assert re.search(word.replace(".", r"\."), text), (word, text)
    assert "selectors (ollama_multigpu_gpus)" in text or "selectors: []" in text


@pytest.mark.parametrize("fault", ["nvmlInit 18", "nvmlInit 12", "init hangs"])
def test_a_host_that_surely_has_no_gpu_and_an_empty_list_of_gpus_give_the_cpu(serving, tmp_path, fault):
    applied, read_facts = serving
    entry = wanted(allow_cpu_offload=True)
    nowhere = read(tmp_path, bus(tmp_path / "pci"), "", {fault: FAULTS[fault]})[fault]
    assert [item["name"] for item in plan(nowhere, entry)["instances"]] == ["cpu"]
    unknown = dict(nowhere, no_gpu_present=False)
    assert not plan(unknown, entry)["feasible"]
    chosen = plan(read_facts[fault], entry, applied_plan=applied[True], selectors=[])
    assert [item["name"] for item in chosen["instances"]] == ["cpu"]
    assert chosen["warnings"][0] == chosen["steps_down"][0]
    assert "runs on 2 GPUs now and would run on the CPU" in chosen["steps_down"][0]


def test_a_gpu_is_given_up_by_naming_those_that_stay(serving):
    applied, read_facts = serving
    before, facts = applied[True], read_facts["one GPU listed"]
    left = facts["gpus"][0]
    entry = wanted(allow_cpu_offload=True)
    for selector in (left["uuid"], left["pci_bus_id"]):
        after = plan(facts, entry, applied_plan=before, selectors=[selector])
        assert after["feasible"] and "runs on 2 GPUs now and would run on 1 GPU" in after["steps_down"][0]
    assert not plan(facts, entry, applied_plan=before, selectors=["0"])["feasible"], "an index may be another GPU's now"
