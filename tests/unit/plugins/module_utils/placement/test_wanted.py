# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A model as the user wants it."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.ask.model_facts import model_facts
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.wanted import Wanted

from tests.oracle import models


def test_the_engine_has_a_cache_type_of_its_own():
    facts = model_facts(models.model("llama3.1-8b"), "a")
    assert Wanted("a", "a:latest-x", facts, 4096).cache_type == "f16"
    assert Wanted("a", "a:latest-x", facts, 4096, kv_cache_type="q8_0").cache_type == "q8_0"
