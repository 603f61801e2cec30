# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The status in 80 columns: each GPU with what is planned and seen there."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.checks import check_plan
from ansible_collections.gpufleet.ollama.plugins.module_utils.program.status_lines import status_lines

from tests.unit.plugins.module_utils.evidence.builders import A, B, observations, plan

GIB = 1024**3


def lines(wanted=None, **changes):
    return told(observations(**changes), wanted or plan())


def told(seen, wanted):
    return [line.text for line in status_lines(check_plan(wanted, seen), seen.inventory, wanted)]


def test_each_gpu_has_its_models_below_it():
    text = lines()
    (first,) = [number for number, line in enumerate(text) if A[:12] in line]
    (second,) = [number for number, line in enumerate(text) if B[:12] in line]
    for number in (first, second):
        assert "llama4:16x" in text[number + 1] and "24/49" in text[number + 1] and text[number + 1].endswith("pass")
    assert "33.3 GiB" in text[first + 1] and "32.3 GiB" in text[second + 1]
    assert text[-1].startswith("Verdict: pass")


def test_a_gpu_has_the_number_that_the_plan_gave_it():
    """NVML numbers the GPUs anew where one is gone or added."""
    wanted, seen = plan(), observations()
    wanted["gpus"] = [dict(gpu, number=gpu["index"] + 2) for gpu in seen.inventory["gpus"]]
    numbers = {line.split()[2]: line.split()[1] for line in told(seen, wanted) if line.startswith("GPU ")}
    assert numbers == {A[:12]: "2", B[:12]: "3"}


@pytest.mark.parametrize(
    "changes",
    [{}, {"held": {A: 65 * GIB, B: 0}}, {"loaded": False}, {"held": {A: None, B: None}}],
    ids=["pass", "one gpu", "not loaded", "unknown"],
)
def test_no_line_is_wider_than_a_terminal(changes):
    wanted = plan()
    assert max(map(len, lines(wanted, **changes))) <= 80


def test_long_names_keep_their_ends():
    wanted = plan()
    model = wanted["instances"][0]["models"][0]
    model["create_as"] = "registry.example.com/namespace/some-very-long-model-name:671b-instruct-q8_0-optimized"
    text = lines(wanted)
    assert max(map(len, text)) <= 80 and any("registry" in line and "optimized" in line for line in text)


def test_a_name_is_not_broken_at_its_hyphens():
    wanted = plan()
    for length in range(20, 55):
        wanted["instances"][0]["models"][0]["create_as"] = "x" * length + ":latest-optimized"
        assert not any(line.endswith("latest-") for line in lines(wanted, loaded=False))


def test_a_gpu_that_is_gone_is_named():
    seen = observations()
    seen.inventory["gpus"] = seen.inventory["gpus"][:1]
    text = told(seen, plan())
    (gone,) = [line for line in text if line.startswith("GPU ?")]
    assert B[:12] in gone and "not there" in gone
    assert text[-1] != "" and any("gpu_not_seen" in line for line in text)


def test_models_without_a_gpu_have_a_place():
    seen = observations(held={})
    wanted = plan(shares={})
    text = told(seen, wanted)
    assert "No GPU" in text and "nothing is planned here" in text[2]


def test_others_and_the_reasons_of_a_bad_health_are_named():
    seen = observations()
    seen.inventory["gpus"][0]["processes"] += [
        {"pid": 4711, "name": "python3", "unit": "batch.service", "used_bytes": 9 * GIB},
        {"pid": 4712, "name": None, "unit": None, "used_bytes": None},
    ]
    seen.inventory["gpus"][1]["health"] = {"state": "degraded", "reasons": ["its clocks are lowered because of heat"]}
    text = told(seen, plan())
    assert "  outside the plan: 9.0 GiB of process 4711 (python3, unit batch.service)" in text
    assert "  outside the plan: an unknown amount of process 4712 (unknown, no unit)" in text
    assert "  its clocks are lowered because of heat" in text and not any("ollama@" in line for line in text)
