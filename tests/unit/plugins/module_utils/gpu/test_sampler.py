# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The sampler of the utilization, over the NVML library of the rig."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import types

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.gpu import sampler

from tests.rig.gpus import state as gpu_state

pytest.importorskip("pynvml")


SAMPLE = """
import json, sys, time
from ansible_collections.gpufleet.ollama.plugins.module_utils.gpu.sampler import Sampler
from tests.rig.gpus import state as gpu_state
import pynvml
sampler = Sampler(pynvml, interval=0.02)

def wait_for_rounds():
    # Until the sampler has read both GPUs at least twice from now on, by the log of the library.
    before = calls()
    while calls() < before + 6:
        time.sleep(0.01)

def calls():
    with open(sys.argv[2]) as log:
        return log.read().count("nvmlDeviceGetUtilizationRates")

wait_for_rounds()
with gpu_state.edit() as state:
    state["gpu1.utilization"] = "63"
wait_for_rounds()
with gpu_state.edit() as state:
    state["gpu1.utilization"] = "0"
    state["gpu0.utilization"] = sys.argv[1]
wait_for_rounds()
print(json.dumps(sampler.finish(30)))
"""


@pytest.mark.parametrize("value, peak", [("0", 0), ("-", 0)])
def test_the_sampler_sees_what_is_over_when_it_is_asked(tmp_path, library, value, peak):
    path = str(tmp_path / "state")
    with gpu_state.edit(path, new=True) as state:
        state.update(gpu_state.preset("rtx-a6000-x2"))
    uuids = [state["gpu%d.uuid" % number] for number in (0, 1)]
    log = tmp_path / "calls"
    log.touch()
    environment = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join(sys.path),
        GPU_RIG_STATE=path,
        GPU_RIG_LOG=str(log),
        LD_LIBRARY_PATH=str(library),
    )
    seen = json.loads(
        subprocess.run(
            [sys.executable, "-c", SAMPLE, value, str(log)],
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
            timeout=60,
        ).stdout
    )
    assert seen["samples"] > 5
    assert seen["utilization_peak"] == {uuids[0]: peak, uuids[1]: 63}


FINISH = """
import os
from ansible_collections.gpufleet.ollama.plugins.module_utils.gpu.sampler import Sampler
from tests.rig.gpus import state as gpu_state
import pynvml
with gpu_state.edit() as state:
    state["gpu1.busy.%d" % os.getpid()] = "21"
print([os.getpid(), Sampler(pynvml, interval=0.02).finish(30)])
"""


def sampled(tmp_path, library, *without, **keys):
    """What the sampler returns on a host with these keys of the state, while this process keeps GPU 1 busy."""
    path = str(tmp_path / "state")
    with gpu_state.edit(path, new=True) as state:
        state.update(gpu_state.preset("rtx-a6000-x2"))
        state.update(keys)
        for key in without:
            state.pop(key)
    environment = dict(
        os.environ, PYTHONPATH=os.pathsep.join(sys.path), GPU_RIG_STATE=path, LD_LIBRARY_PATH=str(library)
    )
    done = subprocess.run(
        [sys.executable, "-c", FINISH], env=environment, stdout=subprocess.PIPE, check=True, timeout=60
    )
    pid, seen = ast.literal_eval(done.stdout.decode())
    return pid, [state["gpu%d.uuid" % number] for number in (0, 1)], seen


def test_the_sampler_sees_which_process_is_busy(tmp_path, library):
    pid, uuids, seen = sampled(tmp_path, library)
    assert seen["utilization_peak"] == {uuids[0]: 0, uuids[1]: 21}
    assert seen["busy_processes"] == {uuids[0]: {}, uuids[1]: {pid: 21}}


def test_what_a_gpu_does_not_support_is_none_and_what_fails_is_left_out(tmp_path, library):
    faults = {"gpu1.fault.nvmlDeviceGet" + name: "999" for name in ("UtilizationRates", "ProcessUtilization")}
    _pid, uuids, seen = sampled(tmp_path, library, "gpu0.utilization", **faults)
    assert seen["utilization_peak"] == {uuids[0]: None} and seen["busy_processes"] == {uuids[0]: None}


def test_samples_from_before_the_sampling_do_not_count(monkeypatch):
    old, new = (types.SimpleNamespace(pid=pid, timeStamp=at, smUtil=47) for pid, at in ((1, 99), (2, 100)))
    monkeypatch.setattr(sampler, "call", lambda pynvml, names, handle, began: [old, new])
    processes = {}
    sampler._sample_processes(None, None, "GPU-a", 100, processes)
    assert processes == {"GPU-a": {2: 47}}
