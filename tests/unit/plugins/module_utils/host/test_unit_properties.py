# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What properties of a unit say."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.unit_properties import main_pid


@pytest.mark.parametrize(
    ("properties", "pid"), [({"MainPID": "4200"}, 4200), ({"MainPID": "0"}, 0), ({"MainPID": ""}, 0), ({}, 0)]
)
def test_the_main_process_of_a_unit(properties, pid):
    assert main_pid(properties) == pid
