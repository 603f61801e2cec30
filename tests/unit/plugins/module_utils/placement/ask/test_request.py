# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The list of models: names, and what may not be in it twice."""

from __future__ import annotations

import pytest

from tests.oracle import models
from tests.unit.plugins.module_utils.placement.builders import TWO_A6000, make_plan, refused


@pytest.mark.parametrize(
    "name", ["../x", "a:{{7*7}}", "a b", "a\nb", "a:b:c", "", "/etc/passwd", "a/../b", "-rf", None, 7]
)
def test_hostile_names(name):
    assert "[host/][namespace/]model[:tag]" in refused({"name": name})


@pytest.mark.parametrize(
    "name", ["llama4:16x17b", "hf.co/org/repo-GGUF:Q4_K_M", "registry.local:5000/library/llama3", "user/model"]
)
def test_ordinary_names_pass(name):
    assert make_plan(TWO_A6000, [{"name": name, "model": models.model("llama3.1-8b")}], "0.32.15")["feasible"]


def test_a_model_listed_twice():
    entry = {"name": "llama3", "model": models.model("llama3.1-8b")}
    for name in ("llama3:latest", "LLAMA3", "library/llama3", "registry.ollama.ai/library/llama3:latest"):
        assert "twice" in refused(models=[entry, dict(entry, name=name)])
    both = [entry, dict(entry, optimized={"suffix": "-long"}, context_length=32768)]
    assert make_plan(TWO_A6000, both + [dict(entry, name="someone/llama3")], "0.32.15")["feasible"]
    assert "No model" in refused(models=[])
