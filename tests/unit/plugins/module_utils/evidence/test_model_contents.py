# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the models of a plan contain on a server."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.model_contents import (
    read_contents,
    stored_contents,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.client import OllamaClient
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store

from tests.unit.plugins.module_utils.ollama.test_store import put
from tests.unit.plugins.scripted_server import serving

INSTANCE = {"models": [{"name": "tiny", "from": "tiny", "create_as": "tiny:latest-optimized"}]}


def test_contents_are_read_by_name():
    show = {
        "modelfile": "FROM /x/blobs/sha256-%s\n" % ("a" * 64),
        "parameters": "num_ctx                        4096",
        "template": "{{ .Prompt }}",
        "license": "long",
        "model_info": {"general.architecture": "llama", "llama.context_length": 8192},
    }
    with serving({("POST", "/api/show"): (200, show)}) as double:
        found = read_contents(OllamaClient(double.url, 5), INSTANCE)
    assert list(found) == ["tiny:latest", "tiny:latest-optimized"]
    one = found["tiny:latest"]
    assert (one["num_ctx"], one["trained_context"]) == (4096, 8192)
    assert one["content"]["from"] == ["sha256:" + "a" * 64] and len(one["content"]["license"]) == 64


def test_a_model_that_the_server_does_not_have_is_left_out():
    with serving({("POST", "/api/show"): (404, {"error": "model not found"})}) as double:
        assert read_contents(OllamaClient(double.url, 5), INSTANCE) == {}


def test_a_draft_model_that_is_named_is_read_as_well():
    drafted = {"models": [dict(INSTANCE["models"][0], draft={"name": "heads"})]}
    show = {"modelfile": "FROM /x/blobs/sha256-%s\n" % ("a" * 64), "model_info": {}}
    with serving({("POST", "/api/show"): (200, show)}) as double:
        assert "heads:latest" in read_contents(OllamaClient(double.url, 5), drafted)


def test_contents_of_a_stopped_instance_are_read_in_its_store(tmp_path):
    store = Store(str(tmp_path))
    put(store, parse("tiny"))
    found = stored_contents(dict(INSTANCE, store=str(tmp_path)))
    assert list(found) == ["tiny:latest"] and found["tiny:latest"]["num_ctx"] is None
    assert len(found["tiny:latest"]["content"]["from"]) == 1
    assert stored_contents(dict(INSTANCE, store=str(tmp_path / "none"))) == {}
