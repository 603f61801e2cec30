# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which loaded model is which of the plan."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.loaded_models import entries, file_of
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.client import OllamaError

MODELS = [{"name": "tiny", "create_as": "tiny:latest-x"}, {"name": "other:1", "create_as": "other:1-x"}]


def entry(name, digest="a"):
    return {"name": name, "digest": digest * 64}


def no_tags():
    raise AssertionError("nothing has to be asked")


def test_models_are_found_under_the_names_that_they_are_served_under():
    loaded = [entry("Tiny:latest-x")]
    assert entries(MODELS, loaded, no_tags) == {"tiny:latest-x": loaded[0], "other:1-x": None}
    loaded += [entry("stranger:latest")]
    assert entries(MODELS, loaded, lambda: [])["other:1-x"] is None


def test_a_model_that_was_loaded_under_its_plain_name_is_the_same_where_the_manifest_is():
    plain = entry("tiny:latest")
    assert entries(MODELS, [plain], lambda: [entry("tiny:latest-x")])["tiny:latest-x"] == plain
    assert entries(MODELS, [plain], lambda: [entry("tiny:latest-x", "b")])["tiny:latest-x"] is None
    assert entries(MODELS, [plain], lambda: [])["tiny:latest-x"] is None
    both = [plain, entry("tiny:latest-x", "b")]
    assert entries(MODELS, both, lambda: [])["tiny:latest-x"] == both[1]


def test_a_model_that_was_loaded_under_an_alias_is_the_same_after_the_alias_went_to_another_model():
    models = [dict(MODELS[0]), dict(MODELS[1], aliases=["chat"])]
    tags = [entry("tiny:latest-x", "a"), entry("other:1-x", "b"), entry("chat:latest", "b")]
    loaded = [entry("chat:latest", "a")]
    assert entries(models, loaded, lambda: tags) == {"tiny:latest-x": loaded[0], "other:1-x": None}


def test_where_the_server_does_not_say_what_it_has_the_model_is_not_known_to_be_loaded():
    def tags():
        raise OllamaError(500, "no answer")

    assert entries(MODELS, [entry("tiny:latest")], tags)["tiny:latest-x"] is None


def test_the_file_of_a_model_is_in_its_modelfile():
    text = "# FROM /old/sha256-00\nFROM /srv/blobs/sha256-12\nFROM /srv/blobs/sha256-34\n"
    assert file_of({"modelfile": text}) == "sha256-12"
    assert file_of({"modelfile": "FROM tiny"}) is None and file_of({}) is None
