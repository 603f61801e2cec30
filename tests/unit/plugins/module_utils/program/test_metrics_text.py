# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Metrics in the text format: what a value of a label may hold, and numbers as they are."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.program.metrics_text import (
    escaped,
    label_value,
    metrics_text,
)


def test_a_metric_has_help_type_and_series():
    text = metrics_text({"gpu_present": {("GPU-a",): 1, ("GPU-b",): 0}, "gpus_readable": {(): 1}})
    assert text == (
        "# HELP gpufleet_gpus_readable Whether NVML could be read: without it, nothing else is known of the GPUs.\n"
        "# TYPE gpufleet_gpus_readable gauge\n"
        "gpufleet_gpus_readable 1\n"
        "# HELP gpufleet_gpu_present Whether a planned GPU is there and can be used.\n"
        "# TYPE gpufleet_gpu_present gauge\n"
        'gpufleet_gpu_present{uuid="GPU-a"} 1\n'
        'gpufleet_gpu_present{uuid="GPU-b"} 0\n'
    )


def test_what_is_not_known_is_not_there():
    assert metrics_text({}) == "" and metrics_text({"gpu_present": {}}) == ""


@pytest.mark.parametrize(
    "value, shown",
    [
        ("NVIDIA RTX A6000", "NVIDIA RTX A6000"),
        ('12" card', '12\\" card'),
        ("C:\\gpu", "C:\\\\gpu"),
        ("two\nlines", "two\\nlines"),
        ("\x00\x1b[2J", "\\\\x00\\\\x1b[2J"),
        ("ends\r\nhere", "ends\\\\r\\nhere"),
        ("half \ud800", "half \\\\ud800"),
        ("Grafikkarte für 8", "Grafikkarte für 8"),
        ("", ""),
    ],
)
def test_a_value_of_a_label_is_one_text_in_one_line(value, shown):
    assert escaped(label_value(value)) == shown
    assert metrics_text({"gpu_info": {(label_value(value), "", ""): 1}}).encode().count(b"\n") == 3


def test_a_name_without_end_is_cut():
    assert len(label_value("x" * 100000)) == 300


@pytest.mark.parametrize("value, shown", [(70132959232, "70132959232"), (True, "1"), (44.125, "44.125"), (0, "0")])
def test_numbers_are_exact(value, shown):
    assert metrics_text({"gpus_readable": {(): value}}).endswith("gpufleet_gpus_readable %s\n" % shown)
