# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Links and clocks while GPUs compute, through the rig's NVML."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.rig.gpus import state as gpu_state

pytest.importorskip("pynvml")
WATCH = """
import json, sys
from ansible_collections.gpufleet.ollama.plugins.module_utils.gpu import under_load
print(json.dumps(under_load.watch(float(sys.argv[1]))))
"""


@pytest.mark.parametrize("busy, link, generation", [(0, {}, None), (90, {}, 4), (90, {"gpu1.pcie.gen.busy": "3"}, 3)])
def test_only_busy_samples_count(tmp_path, library, busy, link, generation):
    path = str(tmp_path / "state")
    with gpu_state.edit(path, new=True) as state:
        state.update(gpu_state.preset("rtx-a6000-x2"))
        state.update({"gpu1.utilization": str(busy), "gpu1.throttle": "8"}, **link)
    environment = dict(
        os.environ, PYTHONPATH=os.pathsep.join(sys.path), GPU_RIG_STATE=path, LD_LIBRARY_PATH=str(library)
    )
    answer = subprocess.run([sys.executable, "-c", WATCH, "0.5"], env=environment, stdout=subprocess.PIPE, check=True)
    idle, second = json.loads(answer.stdout).values()
    assert idle == {"busy_samples": 0, "generation": None, "width": None, "throttle_reasons": []}
    if busy:
        assert second.pop("busy_samples") >= 2
        assert second == {"generation": generation, "width": 16, "throttle_reasons": ["hardware_slowdown"]}
    else:
        assert second == idle


def test_without_a_driver_there_is_nothing(tmp_path, library):
    environment = dict(
        os.environ, PYTHONPATH=os.pathsep.join(sys.path), GPU_RIG_STATE=str(tmp_path), LD_LIBRARY_PATH=str(library)
    )
    answer = subprocess.run([sys.executable, "-c", WATCH, "0"], env=environment, stdout=subprocess.PIPE, check=True)
    assert json.loads(answer.stdout) == {}
