# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How fast the models of a plan generate, and which are slower than they were."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import slowdown
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.slowdown import ProvenPlan

MODEL = {
    "name": "tiny",
    "create_as": "tiny:latest-optimized",
    "planned_digest": "sha256:a",
    "context_length": 4096,
    "parallel": 1,
    "cpu_experts": None,
    "kv_cache_type": "f16",
    "speculation": None,
    "predicted": {"ubatch": 512, "devices": [{"uuid": "GPU-a", "layers": 20}, {"uuid": "GPU-b", "layers": 13}]},
}
PLAN = {
    "ollama_version": "0.32.15",
    "models": [{"name": "tiny", "strategy": "spread"}],
    "instances": [{"name": "gpu0-1", "environment": {}, "models": [MODEL]}],
}


def proven(speed, version="0.32.15", number=None, name="gpu0-1", **more):
    """A plan whose one model generates so fast; `more` are other settings of the model."""
    plan = copy.deepcopy(PLAN)
    plan["ollama_version"] = version
    plan["instances"][0]["name"] = name
    plan["instances"][0]["models"][0].update(more)
    return ProvenPlan(plan, {name: {"tiny:latest-optimized": speed}} if speed else {}, number)


def test_the_speeds_of_the_models_that_generated():
    instances = [
        {"name": "gpu0", "models": [{"name": "a", "tokens_per_second": 40.5}, {"name": "b", "tokens_per_second": 7}]},
        {"name": "gpu1", "models": [{"name": "a", "tokens_per_second": None}, {"name": "e", "tokens_per_second": 0}]},
        {"name": "gpu2", "models": []},
    ]
    assert slowdown.measured_speeds(instances) == {"gpu0": {"a": 40.5, "b": 7}}
    assert slowdown.measured_speeds([]) == {}


def test_a_model_at_half_its_speed_is_a_finding_with_both_figures():
    found = slowdown.slowdowns(proven(20.0, "0.33.3"), proven(40.0, number=3))
    assert found.notes == []
    (finding,) = found.findings
    assert (finding.finding, finding.instance, finding.model) == ("slower", "gpu0-1", "tiny:latest-optimized")
    assert finding.evidence == (
        "tiny:latest-optimized generates 20.0 tokens/s with Ollama 0.33.3, and had 40.0 with Ollama 0.32.15 when "
        "plan 3 was proven: that is 50 % less, and 20 % are allowed."
    )
    assert "Keep Ollama 0.32.15" in finding.remedy and "ollama_multigpu_slowdown_allowed" in finding.remedy
    # With the same release, there is none to keep.
    assert "Keep" not in slowdown.slowdowns(proven(20.0), proven(40.0)).findings[0].remedy


@pytest.mark.parametrize(
    "speed, allowed, is_slower",
    [
        (80.0, 20, False),
        (79.9, 20, True),
        (140.0, 20, False),
        (79.9, 25, False),
        (99.0, 0, True),
        (100.0, 0, False),
        (1.0, 100, False),
    ],
)
def test_what_is_allowed_is_no_finding(speed, allowed, is_slower):
    assert bool(slowdown.slowdowns(proven(speed), proven(100.0), allowed).findings) == is_slower


@pytest.mark.parametrize("new, before", [(None, 40.0), (20.0, None)])
def test_what_was_not_measured_is_not_compared(new, before):
    found = slowdown.slowdowns(proven(new), proven(before))
    assert found.findings == found.notes == []


def test_another_instance_is_not_compared():
    found = slowdown.slowdowns(proven(20.0, name="gpu0"), proven(40.0))
    assert found.findings == found.notes == []


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"context_length": 8192}, "the context length (8192 instead of 4096)"),
        ({"parallel": 4}, "the number of slots (4 instead of 1)"),
        ({"predicted": dict(MODEL["predicted"], ubatch=1024)}, "the batch (1024 instead of 512)"),
    ],
)
def test_what_does_not_decide_the_speed_is_said_and_judged(changed, words):
    (finding,) = slowdown.slowdowns(proven(20.0, **changed), proven(40.0)).findings
    assert finding.evidence.endswith(" The plan also changes %s." % words)


def test_another_strategy_with_the_same_layers_is_said():
    new = proven(20.0)
    new.plan["models"][0]["strategy"] = "split"
    (finding,) = slowdown.slowdowns(new, proven(40.0)).findings
    assert "the strategy (split instead of spread)" in finding.evidence


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"kv_cache_type": "q8_0"}, "the KV cache type (q8_0 instead of f16)"),
        ({"adapters": [{"digest": "sha256:c"}]}, "its adapters"),
        ({"planned_digest": "sha256:b"}, "its content (sha256:b instead of sha256:a)"),
        ({"cpu_experts": 4}, "the layers whose experts are in the host's memory"),
        ({"speculation": {"type": "mtp", "tokens": 4, "draft": False}}, "speculative decoding"),
        ({"predicted": {"devices": [{"uuid": "GPU-a", "layers": 33}]}}, "the layers on the GPUs"),
        ({"predicted": {"devices": [{"uuid": "GPU-a", "layers": 20}, {"uuid": "GPU-c", "layers": 13}]}}, "the layers"),
    ],
)
def test_what_decides_the_speed_and_was_asked_for_is_not_judged(changed, words):
    found = slowdown.slowdowns(proven(20.0, **changed), proven(40.0))
    assert found.findings == []
    (note,) = found.notes
    assert words in note and "20.0 tokens/s" in note and "40.0" in note
    assert slowdown.slowdowns(proven(39.0, **changed), proven(40.0)).notes == []


def test_flash_attention_that_the_plan_changes_is_not_judged():
    new = proven(20.0)
    new.plan["instances"][0]["environment"]["OLLAMA_FLASH_ATTENTION"] = "0"
    found = slowdown.slowdowns(new, proven(40.0))
    assert found.findings == [] and "flash attention" in found.notes[0]


def test_a_content_that_no_registry_has_told_is_judged():
    assert slowdown.slowdowns(proven(20.0, planned_digest=None), proven(40.0)).findings


def test_a_kept_plan_of_another_shape_is_not_compared():
    for plan in ({}, {"instances": []}, {"instances": [{"name": "gpu0-1"}]}):
        assert (
            slowdown.slowdowns(proven(20.0), ProvenPlan(plan, {"gpu0-1": {"tiny:latest-optimized": 40.0}})).findings
            == []
        )
