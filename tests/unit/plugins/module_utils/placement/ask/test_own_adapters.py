# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Adapters of the user's own: what may be written, and what becomes of the facts of the model."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.schema import Adapter
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.ask import own_adapters
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.errors import PlacementError

SHA = "ab" * 32
FACTS = {"architecture": "llama", "block_count": 2, "tied_embeddings": False, "adapters": []}
READ = {
    "name": "m:latest",
    "sha256": SHA,
    "size_bytes": 900,
    "architecture": "llama",
    "layer_bytes": {"0": 100, "1": 200},
    "embedding_bytes": 0,
    "other_bytes": 7,
    "rank": 8,
    "shapes": {"attn_q.weight": [[64, 64]]},
}


def entry(*adapters, **facts):
    given = {"optimized": {"adapters": list(adapters)}} if adapters else {}
    return {"name": "m", "model": dict(FACTS, **facts), **given}


def test_an_adapter_is_added_to_the_facts_and_told():
    one = entry({"url": "https://x/a.gguf", "sha256": SHA}, adapters=[{"digest": "sha256:" + "1" * 64}])
    other = dict(READ, name="other", rank=1)
    facts = own_adapters.with_adapter(one, [other, READ])
    mine = {"layer_bytes": {"0": 100, "1": 200}, "other_bytes": 7, "embedding_bytes": 0, "rank": 8}
    assert facts["adapters"][1] == dict(mine, digest="sha256:" + SHA, size_bytes=900)
    told = own_adapters.planned_adapters(one, [Adapter(digest="sha256:" + "1" * 64), Adapter.of(facts["adapters"][1])])
    assert [(found["kind"], found["where"]) for found in told] == [(None, None), ("url", "https://x/a.gguf")]
    own = {"file": "/m.gguf"}
    assert own_adapters.own_files_to_read([entry(), dict(one, source=own)]) == [
        {"name": "m", "source": own, "adapter": False},
        {"name": "m", "source": {"url": "https://x/a.gguf", "sha256": SHA}, "adapter": True},
    ]


@pytest.mark.parametrize("optimized", [None, {}, {"adapters": None}, {"adapters": []}])
def test_without_one_nothing_is_read(optimized):
    one = dict(entry(), optimized=optimized)
    assert own_adapters.own_files_to_read([one]) == [] and own_adapters.with_adapter(one, [READ]) == FACTS
    assert own_adapters.planned_adapters(one, []) == ()


@pytest.mark.parametrize(
    "adapters, words",
    [
        ([{"file": "a"}, {"file": "b"}], "lists 2 files, and Ollama adds one adapter"),
        ([{}], "optimized.adapters of m has no file: give one of"),
        ([{"file": "a", "url": "https://x/a"}], "has file and url"),
        ([{"host_file": "/a"}], "optimized.adapters of m has no sha256, which a host_file needs"),
        ([{"file": "a", "sha256": "x"}], "give 64 hexadecimal digits"),
        (["a.gguf"], "give a mapping such as optimized.adapters"),
    ],
)
def test_what_cannot_be_is_refused(adapters, words):
    with pytest.raises(PlacementError, match=words):
        own_adapters.check_adapters(entry(*adapters))
    with pytest.raises(PlacementError, match="give a list with one file"):
        own_adapters.check_adapters({"name": "m", "optimized": {"adapters": "a.gguf"}})


@pytest.mark.parametrize(
    "change, facts, words",
    [
        ({"name": "n"}, {}, "adapters has nothing of the adapter a of m"),
        ({"sha256": "cd" * 32}, {}, "are of a file with the SHA-256 cdcd"),
        ({"layer_bytes": {"0": "x"}}, {}, "are not those that model_info returns"),
        ({"shapes": {"q": [5]}}, {}, "are not those that model_info returns"),
        ({"sha256": None}, {}, "are not those that model_info returns"),
        ({"architecture": "qwen2"}, {}, "The adapter a of m was made for the architecture qwen2, and the model has"),
        ({}, {"block_count": 1}, "changes block 1, and the model has the blocks 0 to 0"),
        ({}, {"layer_kinds": [{"attn_q.weight": [128, 64]}]}, "of 64 x 64, and the model has them of 128 x 64"),
        ({}, {"adapters": [{"digest": "sha256:" + SHA}]}, "m has the adapter a already"),
    ],
)
def test_what_does_not_go_with_the_model_is_refused(change, facts, words):
    with pytest.raises(PlacementError, match=words):
        own_adapters.with_adapter(entry({"file": "a", "sha256": SHA}, **facts), [dict(READ, **change)])
