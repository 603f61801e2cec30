# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The fake libnvidia-ml.so.1 with the real pynvml, each in a new process (a loaded library is never read again)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time

import pytest

from tests.rig.gpus import build, state

pytest.importorskip("pynvml")
if not (shutil.which("gcc") or shutil.which("cc")):
    pytest.skip("no C compiler for the fake libnvidia-ml.so.1", allow_module_level=True)
GIB = 1024**3
PREAMBLE = """
import json, pynvml as n
def attempt(function, *arguments):
    try:
        return function(*arguments)
    except n.NVMLError as error:
        return 'error %d' % error.value
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return build.build_nvml(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def nvml(library, tmp_path, monkeypatch):
    """A function that runs Python lines with a preset changed by pairs of key and value.

    `n` is pynvml, and `out` is printed as JSON.
    """
    path = tmp_path / "rig" / "state"
    monkeypatch.setenv("GPU_RIG_STATE", str(path))

    def run(code, preset="rtx-a6000-x2", changes=(), initialise=True, environment=()):
        if preset:
            state.main(["preset", preset])
            with state.edit() as content:
                content.update(changes)
        start = (
            "n.nvmlInit()\nh = n.nvmlDeviceGetHandleByIndex(0) if n.nvmlDeviceGetCount() else None\n"
            if initialise
            else ""
        )
        lines = PREAMBLE + start + code + "\nprint(json.dumps(out))"
        done = subprocess.run(
            [sys.executable, "-c", lines],
            capture_output=True,
            check=False,
            env={**os.environ, "LD_LIBRARY_PATH": str(library.parent), **dict(environment)},
        )
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    run.path = path
    return run


def test_system_and_identity(nvml):
    out = nvml(
        "out = [n.nvmlSystemGetDriverVersion(), n.nvmlSystemGetCudaDriverVersion_v2(), n.nvmlSystemGetNVMLVersion(), "
        "n.nvmlDeviceGetCount(),"
        " n.nvmlDeviceGetName(h), n.nvmlDeviceGetCudaComputeCapability(h), "
        "n.nvmlDeviceGetUUID(n.nvmlDeviceGetHandleByIndex(1)),"
        " n.nvmlDeviceGetPciInfo(h).busId, n.nvmlDeviceGetPciInfo(h).busIdLegacy, n.nvmlDeviceGetMinorNumber(h), "
        "n.nvmlDeviceGetEccMode(h)]"
    )
    second = state.gpus(state.load())[1]["uuid"]
    assert out == [
        "580.95.05",
        13000,
        "13.580.95.05",
        2,
        "NVIDIA RTX A6000",
        [8, 6],
        second,
        "00000000:01:00.0",
        "0000:01:00.0",
        0,
        [0, 0],
    ]


def test_memory_is_base_and_processes(nvml):
    me = os.getpid()
    out = nvml(
        "a, b = n.nvmlDeviceGetMemoryInfo(h), n.nvmlDeviceGetMemoryInfo(h, n.nvmlMemory_v2)\n"
        "out = [a.total, a.free, a.used, b.used, b.reserved, b.free]",
        changes={"gpu0.memory.base": str(GIB), "gpu0.process.%d" % me: "%d C engine" % (2 * GIB)},
    )
    total, reserved = 49140 * 1024**2, 540 * 1024**2
    assert out == [total, total - reserved - 3 * GIB, reserved + 3 * GIB, 3 * GIB, reserved, total - reserved - 3 * GIB]


def test_processes_by_type_and_only_those_that_run(nvml):
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    me = os.getpid()
    out = nvml(
        "show = lambda l: [[p.pid, p.usedGpuMemory] for p in l]\n"
        "out = [show(n.nvmlDeviceGetComputeRunningProcesses(h)), show(n.nvmlDeviceGetComputeRunningProcesses_v2(h)),"
        " show(n.nvmlDeviceGetGraphicsRunningProcesses(h)), show(n.nvmlDeviceGetMPSComputeRunningProcesses(h)), "
        "n.nvmlSystemGetProcessName(%d)]" % me,
        changes={
            "gpu0.process.%d" % me: "5 C my engine",
            "gpu0.process.%d" % gone.pid: "7 C x",
            "gpu0.process.1": "- G xorg",
        },
    )
    assert out == [[[me, 5]], [[me, 5]], [[1, None]], [], "my engine"]


def test_the_last_line_of_a_process_counts_once(nvml):
    me = os.getpid()
    nvml("out = 0")
    with open(nvml.path, "a", encoding="utf-8") as stream:
        stream.write("gpu0.process.%d 5 C a\ngpu0.process.%d 9 C a\n" % (me, me))
    assert nvml("out = [p.usedGpuMemory for p in n.nvmlDeviceGetComputeRunningProcesses(h)]", preset=None) == [9]


def test_many_processes_fit(nvml):
    children = [subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _number in range(12)]
    try:
        out = nvml(
            "out = len(n.nvmlDeviceGetComputeRunningProcesses(h))",
            changes={"gpu0.process.%d" % child.pid: "1 C x" for child in children},
        )
        assert out == 12
    finally:
        for child in children:
            child.communicate(b"\n")


def test_absent_keys_are_not_supported_and_others_go_on(nvml):
    out = nvml(
        "out = [attempt(n.nvmlDeviceGetMigMode, h), attempt(n.nvmlDeviceGetRetiredPagesPendingStatus, h), "
        "n.nvmlDeviceGetComputeMode(h)]"
    )
    assert out == ["error 3", "error 3", 0]


@pytest.mark.parametrize("code", [4, 9, 18, 999, 41])
def test_init_faults(nvml, code):
    assert (
        nvml("out = attempt(n.nvmlInit)", changes={"fault.nvmlInit": str(code)}, initialise=False) == "error %d" % code
    )


def test_no_state_file_is_an_unloaded_driver(nvml):
    assert nvml("out = attempt(n.nvmlInit)", preset=None, initialise=False) == "error 9"


def test_no_devices(nvml):
    assert nvml("out = [n.nvmlDeviceGetCount(), attempt(n.nvmlDeviceGetHandleByIndex, 0)]", preset="none") == [
        0,
        "error 2",
    ]


def test_calls_before_init(nvml):
    assert nvml("n._LoadNvmlLibrary()\nout = attempt(n.nvmlDeviceGetCount)", initialise=False) == "error 1"


def test_a_fault_of_one_gpu_leaves_the_other(nvml):
    out = nvml(
        "out = [attempt(n.nvmlDeviceGetHandleByIndex, 1) , n.nvmlDeviceGetName(h)]", changes={"gpu1.fault": "15"}
    )
    assert out == ["error 15", "NVIDIA RTX A6000"]


def test_a_fault_of_one_function_on_one_gpu(nvml):
    out = nvml(
        "g = n.nvmlDeviceGetHandleByIndex(1)\nout = [attempt(n.nvmlDeviceGetComputeMode, g), "
        "n.nvmlDeviceGetComputeMode(h), n.nvmlDeviceGetName(g)]",
        changes={"gpu1.fault.nvmlDeviceGetComputeMode": "4"},
    )
    assert out == ["error 4", 0, "NVIDIA RTX A6000"]


def test_a_fault_of_one_version_of_a_function(nvml):
    out = nvml(
        "out = [attempt(n.nvmlDeviceGetMemoryInfo, h, n.nvmlMemory_v2), n.nvmlDeviceGetMemoryInfo(h).total > 0]",
        changes={"fault.nvmlDeviceGetMemoryInfo_v2": "25"},
    )
    assert out == ["error 25", True]


def test_a_wrong_struct_version_is_refused(nvml):
    assert nvml("out = attempt(n.nvmlDeviceGetMemoryInfo, h, 0x01000028)") == "error 25"


def test_a_delay(nvml):
    started = time.monotonic()
    nvml("out = n.nvmlDeviceGetName(h)", changes={"delay.nvmlInit": "600"})
    assert time.monotonic() - started > 0.6


def test_changes_are_seen_at_the_next_call(nvml):
    code = (
        "import os\nout = [n.nvmlDeviceGetUtilizationRates(h).gpu]\n"
        "open(os.environ['GPU_RIG_STATE'], 'a').write('gpu0.utilization 55\\n')\n"
        "out.append(n.nvmlDeviceGetUtilizationRates(h).gpu)\n"
        "open(os.environ['GPU_RIG_STATE'], 'a').write('gpu0.busy.%d 91\\n' % os.getpid())\n"
        "out.append(n.nvmlDeviceGetUtilizationRates(h).gpu)"
    )
    assert nvml(code) == [0, 55, 91]


def test_unified_memory(nvml):
    out = nvml(
        "out = [attempt(n.nvmlDeviceGetMemoryInfo, h), attempt(n.nvmlDeviceGetMemoryInfo, h, n.nvmlMemory_v2), "
        "n.nvmlDeviceGetPciInfo(h).busId,"
        " n.nvmlDeviceGetAddressingMode(h)]",
        preset="gb10",
    )
    assert out == ["error 3", "error 3", "0000000F:01:00.0", 2]


def test_mig_devices_with_a_hole(nvml):
    out = nvml(
        "out = [n.nvmlDeviceGetMigMode(h), n.nvmlDeviceGetMaxMigDeviceCount(h), "
        "attempt(n.nvmlDeviceGetUtilizationRates, h), []]\n"
        "for slot in range(3):\n"
        "    try:\n        m = n.nvmlDeviceGetMigDeviceHandleByIndex(h, slot)\n"
        "    except n.NVMLError as error:\n        out[3].append(error.value); continue\n"
        "    a = n.nvmlDeviceGetAttributes_v2(m)\n"
        "    out[3].append([n.nvmlDeviceGetUUID(m)[:4], n.nvmlDeviceGetMemoryInfo(m).total, "
        "n.nvmlDeviceGetGpuInstanceId(m),"
        " a.gpuInstanceSliceCount, a.memorySizeMB])",
        preset="a100-mig",
    )
    assert out == [
        [1, 1],
        7,
        "error 3",
        [["MIG-", 20096 * 1024**2, 1, 3, 20096], 6, ["MIG-", 20096 * 1024**2, 2, 3, 20096]],
    ]


def test_a_process_in_a_mig_device(nvml):
    out = nvml(
        "import os\nm, other = (n.nvmlDeviceGetMigDeviceHandleByIndex(h, slot) for slot in (2, 0))\n"
        "out = [[[p.pid, p.usedGpuMemory, p.gpuInstanceId, p.computeInstanceId]"
        " for p in n.nvmlDeviceGetComputeRunningProcesses(one)] for one in (h, m, other)]\n"
        "out += [[n.nvmlDeviceGetMemoryInfo(one).used for one in (h, m, other)]]\n"
        "out += [n.nvmlSystemGetProcessName(%d)]" % os.getpid(),
        preset="a100-mig",
        changes={"gpu0.mig.2.process.%d" % os.getpid(): "%d C llama-server" % GIB, "gpu0.memory.reserved": "0"},
    )
    entry, driver = [os.getpid(), GIB, 2, 0], 19 * 1024**2
    assert out == [[entry], [entry], [], [GIB + 2 * driver, GIB + driver, driver], "llama-server"]


def test_connections(nvml):
    out = nvml(
        "g = n.nvmlDeviceGetHandleByIndex(1)\nv = n.nvmlDeviceGetFieldValues(h, [91, 90, 230, 12345])\n"
        "out = [n.nvmlDeviceGetTopologyCommonAncestor(g, h), n.nvmlDeviceGetP2PStatus(h, g, 0), [[x.nvmlReturn, "
        "x.value.uiVal] for x in v],"
        " n.nvmlDeviceGetNvLinkState(h, 3), attempt(n.nvmlDeviceGetNvLinkState, h, 4), "
        "n.nvmlDeviceGetNvLinkRemotePciInfo(h, 0).busId]"
    )
    assert out == [40, 0, [[0, 4], [0, 14062], [0, 0], [3, 0]], 1, "error 2", "00000000:41:00.0"]


def test_handles_by_uuid_and_address(nvml):
    out = nvml(
        "u = n.nvmlDeviceGetUUID(n.nvmlDeviceGetHandleByIndex(1))\n"
        "out = [n.nvmlDeviceGetIndex(n.nvmlDeviceGetHandleByUUID(u)), "
        "n.nvmlDeviceGetIndex(n.nvmlDeviceGetHandleByPciBusId('0000:41:00.0')),"
        " attempt(n.nvmlDeviceGetHandleByUUID, 'GPU-none')]"
    )
    assert out == [1, 1, "error 6"]


def test_calls_can_be_counted(nvml, tmp_path):
    nvml("out = n.nvmlDeviceGetName(h)", environment={"GPU_RIG_LOG": str(tmp_path / "calls")})
    assert (tmp_path / "calls").read_text().split() == [
        "nvmlInitWithFlags",
        "nvmlDeviceGetCount_v2",
        "nvmlDeviceGetHandleByIndex_v2",
        "nvmlDeviceGetName",
    ]


def test_the_library_has_its_soname_and_no_recent_glibc(library):
    data = library.read_bytes()
    assert b"libnvidia-ml.so.1\0" in data
    assert b"GLIBC_2.38" not in data and b"GLIBC_2.34" not in data
