# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a run changes in few lines, and what differs between two plans."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.changes_lines import Difference, changes_lines
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.plan_differences import plan_differences
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.style import Style, drawn

from tests.unit.plugins.plugin_utils.report.made_plans import planned

GEMMA = {"name": "gemma3:27b", "context_length": 8192}


def change(kind, what_kind, what, reason, stage, instance=""):
    return {"kind": kind, "object": what_kind, "what": what, "reason": reason, "stage": stage, "instance": instance}


def lines(changes, plan, applied=None, summary=(), obstacles=(), **style):
    style = Style(**style)
    return drawn(style, changes_lines(Difference(changes, summary, plan, applied or {}, obstacles), style, "gpu-a"))


CHANGES = [
    change("fetch", "release", "0.32.15", "It is not installed.", "install"),
    change("write", "directory", "/etc/ollama-multigpu", "It is not there.", "fetch"),
    change("write", "directory", "/var/lib/ollama-multigpu/fetch", "It is not there.", "fetch"),
    change("fetch", "model", "gemma3:27b", "The store of gpu0 does not have it.", "fetch"),
    *(
        change("enable", "instance", unit, "%s does not start at boot." % unit, "switch", unit[7:11])
        for unit in ("ollama@gpu0.service", "ollama@gpu1.service")
    ),
    *(
        change("link", "model", "gemma3:27b", "The store of %s does not have it." % name, "switch", name)
        for name in ("gpu0", "gpu1")
    ),
]


def test_a_first_run():
    plan = planned(GEMMA)
    for instance in plan["instances"]:
        instance["models"][0]["size_bytes"] = 16 * 1024**3
    assert lines(CHANGES, plan, summary=["Warning: mind the gap", "Fetch release 0.32.15: It is not installed."]) == [
        "Changes on gpu-a: 8 (install 1, fetch 3, switch 4)",
        "  Warning: mind the gap",
        "  address    http://127.0.0.1:11434 is new and serves gemma3:27b-optimized",
        "  address    http://127.0.0.1:11435 is new and serves gemma3:27b-optimized",
        "  to fetch   Ollama 0.32.15 and 16.0 GiB of models (gemma3:27b)",
        "  install    Fetch release 0.32.15: It is not installed.",
        "  fetch      Write 2 directories (ollama-multigpu, fetch): They are not there.",
        "             Fetch model gemma3:27b: The store of gpu0 does not have it.",
        "  switch     Enable 2 instances (ollama@gpu0.service, ollama@gpu1.service): They",
        "               do not start at boot.",
        "             Link 2 models (gemma3:27b on gpu0, gemma3:27b on gpu1): The stores",
        "               of their instances do not have them.",
    ]


def test_with_details_every_change_has_its_line():
    text = " ".join("\n".join(lines(CHANGES, planned(GEMMA), details=True)).split())
    assert "Link model gemma3:27b on gpu1: The store of gpu1 does not have it." in text
    assert "Write directory /var/lib/ollama-multigpu/fetch: It is not there." in text


def test_nothing_differs():
    plan = planned(GEMMA)
    assert lines([], plan, plan) == ["Nothing on gpu-a differs from the plan."]
    assert lines([], plan, plan, summary=["Obstacle: no."], obstacles=["no."]) == ["  Obstacle: no."]


@pytest.mark.parametrize(
    "wanted, said",
    [
        ({}, []),
        ({"context_length": 4096}, ["context length 8192 -> 4096", "num_ctx 8192 -> 4096"]),
        ({"parallel": 2}, ["slots 1 -> 2", "OLLAMA_NUM_PARALLEL 1 -> 2"]),
        ({"kv_cache_type": "q8_0"}, ["KV cache type f16 -> q8_0"]),
        ({"strategy": "split"}, ["2 replicas on GPU 0 and 1 -> split over GPU 0 and 1", "11435 is gone; it served"]),
        ({"aliases": ["chat"]}, ["aliases none -> chat"]),
        ({"name": "llama4:16x17b"}, ["llama4:16x17b is new, split over GPU 0 and 1", "gemma3:27b is gone"]),
    ],
    ids=lambda value: next(iter(value), "same") if isinstance(value, dict) else "",
)
def test_plans_that_differ(wanted, said):
    found = plan_differences(planned(GEMMA), planned(dict(GEMMA, **wanted)))
    assert bool(found) == bool(said)
    for phrase in said:
        assert any(phrase in one for one in found), (phrase, found)


def test_what_is_on_or_off_is_said_so():
    before, after = planned(GEMMA), planned(GEMMA)
    for plan, resident in ((before, True), (after, False)):
        plan["instances"][0]["models"][0]["resident"] = resident
    assert any("resident on -> off" in one for one in plan_differences(before, after))


def test_what_is_free_at_the_moment_is_no_difference():
    plan = planned(GEMMA)
    other = copy.deepcopy(plan)
    for gpu in other["gpus"]:
        gpu["available_bytes"] -= 2**30
    assert plan_differences(plan, other) == []


def test_the_value_of_a_secret_variable_is_not_shown():
    before, after = planned(GEMMA), planned(GEMMA)
    before["instances"][0]["environment"]["HF_TOKEN"] = "(hidden)"
    after["instances"][0]["environment"]["HF_TOKEN"] = "geheim"
    text = " ".join(plan_differences(before, after))
    assert "HF_TOKEN changes" in text and "geheim" not in text


def test_the_release_is_said():
    before = dict(planned(GEMMA), ollama_version="0.32.14")
    assert plan_differences(before, planned(GEMMA)) == ["Ollama 0.32.14 -> 0.32.15"]
