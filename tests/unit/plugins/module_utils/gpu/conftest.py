# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The NVML library of the rig, and machines that the real nvidia-ml-py reads through it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.rig.gpus import state as gpu_state
from tests.rig.gpus.build import build_nvml

READ = """
import json, sys
from ansible_collections.gpufleet.ollama.plugins.module_utils.gpu import nvml
facts, missing = nvml.read_inventory(float(sys.argv[1]))
print(json.dumps(facts))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return build_nvml(tmp_path_factory.mktemp("nvml")).parent


@pytest.fixture
def machine(tmp_path, library):
    """A function that reads the facts of a machine: machine(preset, {key: value}, timeout)."""

    def read(preset="rtx-a6000-x2", changes=None, timeout=60.0, directory=library):
        path = str(tmp_path / "state")
        if preset is not None:
            with gpu_state.edit(path, new=True) as state:
                state.update(gpu_state.preset(preset))
                state.update({key: str(value) for key, value in (changes or {}).items()})
        environment = dict(
            os.environ, PYTHONPATH=os.pathsep.join(sys.path), GPU_RIG_STATE=path, LD_LIBRARY_PATH=str(directory)
        )
        answer = subprocess.run(
            [sys.executable, "-c", READ, str(timeout)], env=environment, stdout=subprocess.PIPE, check=True
        )
        return json.loads(answer.stdout)

    return read
