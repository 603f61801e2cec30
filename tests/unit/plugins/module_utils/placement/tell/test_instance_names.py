# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Names of instances, after the numbers of their GPUs."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.errors import PlacementError
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.tell import instance_names

from tests.unit.plugins.module_utils.placement.builders import gpu


def test_the_numbers_of_the_gpus_name_an_instance():
    assert instance_names.instance_name([]) == "cpu"
    assert instance_names.instance_name([gpu(3)]) == "gpu3"
    assert instance_names.instance_name([gpu(0), gpu(12)]) == "gpu0-12"
    assert instance_names.instance_name([gpu(1, uuid="MIG-00ab12cd34", is_slice=True)]) == "gpu1m00ab12cd"


def test_the_first_free_letter_follows():
    assert instance_names.free_name("gpu0", []) == "gpu0"
    assert instance_names.free_name("gpu0", ["gpu0", "gpu0b", None]) == "gpu0c"
    with pytest.raises(PlacementError, match="More than 26 instances on the GPUs of gpu0"):
        instance_names.free_name("gpu0", instance_names.names_on("gpu0"))
