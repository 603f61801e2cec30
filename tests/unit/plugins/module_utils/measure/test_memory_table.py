# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The table of memory that the engine prints in its dry run."""

from __future__ import annotations

import json
import pathlib

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.measure import memory_table

MIB = 1024 * 1024
RECORDING = pathlib.Path(__file__).parents[4] / "fixtures" / "recordings" / "ollama-0.32.15-loading.json"


def test_a_row_gives_its_figures_in_bytes():
    line = "x: |   - CUDA1 (NVIDIA RTX A6000) | 49140 = 48000 + (40000 = 39000 +  600 +  400) + 0 |"
    device, memory = memory_table.row(line)
    assert device == "CUDA1"
    assert memory == memory_table.DeviceMemory(40000 * MIB, 39000 * MIB, 600 * MIB, 400 * MIB)


def test_the_last_row_is_the_hosts():
    line = "|   - Host      |                   10 =     1 +       4 +       5                |"
    assert memory_table.row(line) == ("Host", memory_table.DeviceMemory(10 * MIB, MIB, 4 * MIB, 5 * MIB))


def test_a_row_without_figures_is_a_row():
    assert memory_table.row("|   - CUDA0 (A) | what = ever |") == ("CUDA0", None)


@pytest.mark.parametrize("line", ["", "load_tensors: loading model tensors", "| memory breakdown [MiB] | total |"])
def test_other_lines_are_no_rows(line):
    assert memory_table.row(line) is None


def test_every_recorded_table_has_a_head_and_ends_with_the_host():
    logs = [entry["server_log"] for entry in json.loads(RECORDING.read_text()) if entry.get("server_log")]
    tables = 0
    for lines in logs:
        rows = [memory_table.row(line) for line in lines if memory_table.row(line)]
        heads = sum(memory_table.is_head(line) for line in lines)
        assert heads == sum(row[0] == memory_table.HOST for row in rows)
        tables += heads
    assert tables > 20
