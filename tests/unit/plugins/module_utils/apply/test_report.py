# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A switch that failed in sentences."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.apply.going_back import WentBack
from ansible_collections.gpufleet.ollama.plugins.module_utils.apply.report import failure_text

OLD, NEW = {"ollama_version": "0.32.14"}, {"ollama_version": "0.32.15"}
MODEL = {"name": "tiny", "verdict": "pass", "tokens_per_second": 31.5}
EVIDENCE = {"verdict": "pass", "instances": [{"name": "gpu0", "models": [MODEL]}], "diagnosis": []}


def told(back):
    return failure_text("gpu0", "It ended.", back, NEW, OLD)


def test_without_anything_before_the_reason_is_all():
    assert told(None) == "The switch of gpu0 to Ollama 0.32.15 failed: It ended."


def test_what_went_back_is_told_with_its_evidence():
    text = told(WentBack(["gpu0"], EVIDENCE))
    assert text == (
        "The switch of gpu0 to Ollama 0.32.15 failed: It ended. gpu0 went back to Ollama 0.32.14 with the settings and "
        "models of before, and is proven again: tiny on gpu0: pass, 31.5 tokens/s."
    )
    assert "gpu1, gpu0 went back" in told(WentBack(["gpu1", "gpu0"])) and "nothing ran" in told(WentBack())


def test_going_back_that_failed_is_told():
    text = told(WentBack([], EVIDENCE, "The release is gone."))
    assert "Going back to Ollama 0.32.14 failed: The release is gone. What serves now was left as it is" in text
