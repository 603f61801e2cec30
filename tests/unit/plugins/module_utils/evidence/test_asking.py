# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is kept of an answer, and how many numbers a vector has to have."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import asking
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.shapes import Answer
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.client import OllamaClient

from tests.unit.plugins.scripted_server import serving

BLANK = Answer("one.service", "tiny", "d")


def test_tokens_with_the_likeliest_beside_them():
    top = [{"token": " a", "logprob": -0.5}, {"token": " b", "logprob": None}]
    found = asking.answer_of(
        BLANK, {"response": " a", "logprobs": [{"token": " a", "logprob": -0.5, "top_logprobs": top}]}
    )
    assert found.tokens == ((" a", -0.5, ((" a", -0.5), (" b", None))),) and found.text == " a"
    assert (found.server, found.model, found.content) == ("one.service", "tiny", "d")


def test_a_part_of_a_letter_is_known_by_its_bytes_where_the_release_tells_them():
    top = [{"token": "\ufffd", "logprob": -0.5, "bytes": [0xE6]}, {"token": "\ufffd", "logprob": -0.6, "bytes": None}]
    entry = {"token": "\ufffd", "logprob": -0.5, "bytes": [0xE6, 0xB5], "top_logprobs": top}
    ((text, _value, likeliest),) = asking.answer_of(BLANK, {"logprobs": [entry]}).tokens
    assert text == "\\xe6\\xb5" and likeliest == (("\\xe6", -0.5), ("\ufffd", -0.6))
    for odd in ([300], ["x"], "x", 7):
        assert asking.answer_of(BLANK, {"logprobs": [dict(entry, bytes=odd)]}).tokens[0][0] == "\ufffd"
    assert asking.answer_of(BLANK, {"logprobs": [{"token": "a", "bytes": [98]}]}).tokens[0][0] == "a"


@pytest.mark.parametrize("listed", [None, "x", [None, 3], [{"token": 3, "top_logprobs": "x"}], [{"top_logprobs": [1]}]])
def test_an_answer_of_another_shape_is_no_error(listed):
    found = asking.answer_of(BLANK, {"response": None, "logprobs": listed})
    assert found.text == "" and all(token[2] == () for token in found.tokens)


def ask(info, vector=(1.0, 0.5), status=200, **more):
    answers = {
        ("POST", "/api/embed"): (status, {"embeddings": [list(vector)]} if status == 200 else {"error": "no memory"}),
        ("POST", "/api/show"): (200, {"model_info": info}),
    }
    with serving(answers) as server:
        found = asking.vector_of(BLANK, OllamaClient(server.url), -1, 5, **more)
        return found, [request.path for request in server.requests]


@pytest.mark.parametrize(
    "info, width",
    [
        ({"embedding_length": 768}, 768),
        ({"embedding_length": 1024, "embedding_length_out": 128}, 128),
        ({"embedding_length": 768, "dense_2_feat_out": 3072, "dense_3_feat_out": 768}, 768),
        ({"embedding_length": 768, "dense_2_feat_out": 0, "dense_3_feat_out": 0}, 768),
        ({"embedding_length": True}, None),
        ({}, None),
    ],
)
def test_the_width_is_that_of_the_last_layer(info, width):
    keys = dict({"bert." + name: value for name, value in info.items()}, **{"general.architecture": "bert"})
    found, asked = ask(keys)
    assert (found.vector, found.width) == ((1.0, 0.5), width)
    assert asked == ["/api/embed", "/api/show"]


def test_on_a_gpu_it_goes_on_for_a_while():
    _found, asked = ask({}, seconds=0.2)
    assert asked.count("/api/embed") > 1


def test_why_there_is_no_vector_is_kept():
    found, _asked = ask({}, status=500)
    assert found.vector is None and "no memory" in (found.error or "")


def test_what_replicas_have_in_common():
    model = {"name": "tiny", "kv_cache_type": "f16", "adapters": [{"digest": "1"}]}
    same = asking.content_of(dict(model), "sha256-1")
    assert asking.content_of(model, "sha256-1") == same and asking.content_of(model, None) == ""
    others = [
        asking.content_of(dict(model, **one), "sha256-1") for one in ({"kv_cache_type": "q8_0"}, {"adapters": []})
    ]
    assert len({same, asking.content_of(model, "sha256-2"), *others}) == 4


def test_two_models_of_one_file_are_no_replicas():
    """Another system text makes another answer, and no fault."""
    plain = {"name": "tiny", "create_as": "tiny:latest-optimized", "kv_cache_type": "f16"}
    pirate = dict(plain, create_as="tiny:latest-pirate", system="You are a pirate.")
    assert asking.content_of(plain, "sha256-1") != asking.content_of(pirate, "sha256-1")
