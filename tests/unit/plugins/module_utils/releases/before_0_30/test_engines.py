# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which engine runs a model, and flash attention, by version."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.before_0_30 import (
    engines,
    v0_5,
    v0_11_5,
    v0_11_11,
    v0_12_11,
)

from tests.unit.plugins.module_utils.releases.loads import decide, effective, gpus, model


def test_flash_attention_on_vulkan_and_on_the_host_by_version():
    # discover/types.go and ml/device.go, FlashAttentionSupported, at the release tags.
    vulkan, host = [{"library": "Vulkan"}], [{"library": "cpu"}]
    assert [engines.flash_on_gpus(vulkan, (0, 12, patch)) for patch in (5, 6, 7, 9, 10)] == [
        False,
        True,
        False,
        False,
        True,
    ]
    assert [engines.flash_on_gpus(host, (0, 11, patch)) for patch in (4, 5)] == [False, True]


@pytest.mark.parametrize(
    "name, version, own",
    # model/models, model.Register, at the release tags; it does not support a mixture of experts of architecture llama.
    [
        ("llama3.1-8b", (0, 11, 11), True),
        ("gemma2-27b", (0, 12, 10), True),
        ("mixtral-8x7b", (0, 12, 10), False),
        ("phi3-14b", (0, 24, 0), False),
        ("deepseek-v2-lite-16b", (0, 12, 2), False),
        ("deepseek-v2-lite-16b", (0, 12, 3), True),
    ],
)
def test_ollamas_own_engine_is_asked_for_models_that_it_knows(name, version, own):
    def engine(environment):
        return effective(version, model(name), gpus(24), {"num_ctx": 4096}, environment).own_engine

    assert not engine({})
    assert engine({"OLLAMA_NEW_ENGINE": "1"}) is own


def test_quantized_cache_needs_flash_attention():
    facts, host, options = model("llama3.1-8b"), gpus(24), {"num_ctx": 131072}
    for rules in (v0_5, v0_11_5, v0_11_11, v0_12_11):
        plain = decide(rules, facts, host, options)
        ignored = decide(rules, facts, host, options, {"OLLAMA_KV_CACHE_TYPE": "q8_0"})
        used = decide(rules, facts, host, options, {"OLLAMA_KV_CACHE_TYPE": "q8_0", "OLLAMA_FLASH_ATTENTION": "1"})
        assert plain.layers == ignored.layers
        assert sum(used.layers) > sum(plain.layers)
