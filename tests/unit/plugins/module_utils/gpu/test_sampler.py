# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The sampler of the utilization, over the NVML library of the rig."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.rig.gpus import state as gpu_state

pytest.importorskip("pynvml")


SAMPLE = """
import json, sys, time
from ansible_collections.gpufleet.ollama.plugins.module_utils.gpu.sampler import Sampler
from tests.rig.gpus import state as gpu_state
import pynvml
sampler = Sampler(pynvml, interval=0.02)
time.sleep(0.15)
with gpu_state.edit() as state:
    state["gpu1.utilization"] = "63"
time.sleep(0.15)
with gpu_state.edit() as state:
    state["gpu1.utilization"] = "0"
    state["gpu0.utilization"] = sys.argv[1]
time.sleep(0.15)
print(json.dumps(sampler.finish(5)))
"""


@pytest.mark.parametrize("value, peak", [("0", 0), ("-", 0)])
def test_the_sampler_sees_what_is_over_when_it_is_asked(tmp_path, library, value, peak):
    path = str(tmp_path / "state")
    with gpu_state.edit(path, new=True) as state:
        state.update(gpu_state.preset("rtx-a6000-x2"))
    uuids = [state["gpu%d.uuid" % number] for number in (0, 1)]
    environment = dict(
        os.environ, PYTHONPATH=os.pathsep.join(sys.path), GPU_RIG_STATE=path, LD_LIBRARY_PATH=str(library)
    )
    seen = json.loads(
        subprocess.run(
            [sys.executable, "-c", SAMPLE, value], env=environment, stdout=subprocess.PIPE, check=True
        ).stdout
    )
    assert seen["samples"] > 5
    assert seen["utilization_peak"] == {uuids[0]: peak, uuids[1]: 63}
