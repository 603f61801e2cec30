# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How fast the models of a plan generate, and which are slower than they were."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import slowdown


def test_the_speeds_of_the_models_that_generated():
    instances = [
        {"name": "gpu0", "models": [{"name": "a", "tokens_per_second": 40.5}, {"name": "b", "tokens_per_second": 7}]},
        {"name": "gpu1", "models": [{"name": "a", "tokens_per_second": None}, {"name": "e", "tokens_per_second": 0}]},
        {"name": "gpu2", "models": []},
    ]
    assert slowdown.measured_speeds(instances) == {"gpu0": {"a": 40.5, "b": 7}}
    assert slowdown.measured_speeds([]) == {}
