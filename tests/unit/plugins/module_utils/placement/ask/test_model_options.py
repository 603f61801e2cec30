# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is wrong with the structure of a list of models, in words."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.ask import model_options

WHOLE = {
    "name": "llama3.1:8b",
    "strategy": "replicate",
    "context_length": 8192,
    "parallel": "2",
    "kv_cache_type": "q8_0",
    "flash_attention": "yes",
    "ubatch": 512.0,
    "replicas": 2,
    "speculative": {"type": "mtp", "tokens": 4},
    "allow_cpu_offload": False,
    "cpu_experts": 8,
    "resident": False,
    "headroom_bytes": None,
    "keep_alive": "30m",
    "insecure": 1,
    "digest": "sha256:" + "a" * 64,
    "refresh": "no",
    "aliases": ["chat"],
    "source": {"file": "/srv/own.gguf", "sha256": "b" * 64},
    "optimized": {"parameters": {"temperature": 0.2}, "system": "s", "template": None, "suffix": "-x"},
}


def problems(*models):
    return model_options.structure_problems(list(models), model_options.role_options())


def test_a_right_structure_has_no_problem():
    assert set(WHOLE) == set(model_options.role_options())
    assert problems(WHOLE, {"name": "b", "context_length": "auto"}, {"name": "c", "optimized": {}}) == []


@pytest.mark.parametrize(
    "model, sentence",
    [
        ("llama3.1:8b", "Model 1 is 'llama3.1:8b': write {name: 'llama3.1:8b'}."),
        (None, "Model 1 is empty: give a mapping with a name."),
        ([{"name": "a"}], "Model 1 is a list: give a mapping with a name."),
        ({"strategy": "split"}, "Model 1 has no name: give one, for example name: llama3.1:8b."),
        ({"name": ""}, "Model 1 has no name: give one, for example name: llama3.1:8b."),
        ({"nmae": "a"}, "Model 1 has the unknown key nmae: did you mean name?"),
        ({"model": "a"}, "Model 1 has the unknown key model: write name."),
        ({"name": ["a"]}, "name of model 1 is a list: give a text."),
        ({"name": 5}, "name of model 1 is 5: give a text."),
        (
            {"name": "a", "context_length": [8192]},
            "context_length of model a is a list: give a number or a text, or leave it out.",
        ),
        ({"name": "a", "stratgy": "split"}, "Model a has the unknown key stratgy: did you mean strategy?"),
        ({"name": "a", "Replicas": 2}, "Model a has the unknown key Replicas: did you mean replicas?"),
        ({"name": "a", "num_ctx": 1}, "Model a has the unknown key num_ctx: write context_length."),
        (
            {"name": "a", "temperature": 1},
            "Model a has the unknown key temperature: a parameter belongs into optimized, as {parameters: "
            "{temperature: ...}}.",
        ),
        ({"name": "a", "strategy": "spilt"}, "strategy of model a is 'spilt': did you mean split?"),
        ({"name": "a", "strategy": 7}, "strategy of model a is 7: give a text, or leave it out."),
        ({"name": "a", "replicas": "two"}, "replicas of model a is 'two': give a whole number, or leave it out."),
        ({"name": "a", "replicas": [5]}, "replicas of model a is a list: give a whole number, or leave it out."),
        ({"name": "a", "parallel": True}, "parallel of model a is true: give a whole number, or leave it out."),
        ({"name": "a", "ubatch": 1.5}, "ubatch of model a is 1.5: give a whole number, or leave it out."),
        (
            {"name": "a", "flash_attention": "maybe"},
            "flash_attention of model a is 'maybe': give true or false, or leave it out.",
        ),
        ({"name": "a", "kv_cache_type": {}}, "kv_cache_type of model a is a mapping: give a text, or leave it out."),
        (
            {"name": "a", "optimized": "x"},
            "optimized of model a is 'x': give a mapping with suffix, parameters, system, template, adapters, or leave "
            "it out.",
        ),
        (
            {"name": "a", "optimized": {"adapters": ["x"]}},
            "adapters of optimized of model a has 'x': give mappings with file, host_file, url, sha256.",
        ),
        (
            {"name": "a", "optimized": {"adapters": [{"path": "/x"}]}},
            "adapters of optimized of model a has the unknown key path: it takes file, host_file, sha256, url.",
        ),
        (
            {"name": "a", "optimized": {"paramters": {}}},
            "optimized of model a has the unknown key paramters: did you mean parameters?",
        ),
        (
            {"name": "a", "optimized": {"num_keep": 5}},
            "optimized of model a has the unknown key num_keep: a parameter belongs into parameters, as "
            "{num_keep: ...}.",
        ),
        (
            {"name": "a", "optimized": {"parameters": ["temperature 1"]}},
            "parameters of optimized of model a is a list: give a mapping, or leave it out.",
        ),
        ({"name": "a", "speculative": {"tokens": 1}}, "speculative of model a has no type: give one."),
    ],
)
def test_each_fault_is_one_sentence_with_the_remedy(model, sentence):
    assert problems(model) == [sentence]


@pytest.mark.parametrize(
    "models, shown", [({"name": "a"}, "a mapping"), ("a", "'a'"), (None, "empty"), (7, "7"), (True, "true")]
)
def test_models_that_are_no_list(models, shown):
    found = model_options.structure_problems(models, model_options.role_options())
    assert found == ["The models are %s: give a list of models, for example [{name: 'llama3.1:8b'}]." % shown]


def test_every_fault_is_said():
    found = problems({"nmae": "a"}, "b", {"name": "c", "replicas": "x", "parallel": "y"})
    assert len(found) == 4 and "Model 2 is 'b'" in found[1]


def test_an_unknown_key_that_is_like_none_names_all():
    (found,) = problems({"name": "a", "zzz": 1})
    assert found.startswith("Model a has the unknown key zzz: it takes aliases, allow_cpu_offload, ")
    assert "model," not in found and "parameters" not in found
