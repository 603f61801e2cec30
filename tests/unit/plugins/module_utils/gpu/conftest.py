# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The NVML library of the rig."""

from __future__ import annotations

import pytest

from tests.rig.gpus.build import build_nvml


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return build_nvml(tmp_path_factory.mktemp("nvml")).parent
