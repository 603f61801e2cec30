# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the gateway's lists of models say."""

from __future__ import annotations

import json

from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway import maps
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.backends import spellings
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.inputs import gateway

from tests.unit.plugins.plugin_utils.gateway.builders import endpoint, facts, model, settings


def listed(*endpoints):
    """{name: (entry of /api/tags, of /v1/models, of /api/ps)}."""
    text = maps.listing(gateway(settings(), facts(*endpoints), None))
    rows = [line.split("\t") for line in text.splitlines()]
    return {row[1]: [json.loads(entry) for entry in row[2:5]] for row in rows}


def test_lists_have_the_sizes_and_digests_of_the_plan():
    sizes = {"digest": "ab" * 32, "size_bytes": 4000, "memory_bytes": 1450, "vram_bytes": 1400}
    tags, unused_openai, loaded = listed(endpoint("a", "gpu0", model("x:1", "chat:latest", **sizes)))["chat:latest"]
    assert (tags["digest"], tags["size"]) == ("ab" * 32, 4000)
    assert (loaded["digest"], loaded["size"], loaded["size_vram"]) == ("ab" * 32, 1450, 1400)


def test_a_line_has_what_clients_may_write_for_its_name():
    """Also of an alias, which has the same backend."""
    text = maps.listing(gateway(settings(), facts(endpoint("a", "gpu0", model("X:1", "chat:latest"))), None))
    found = {row[1]: row[5].split() for row in (line.split("\t") for line in text.splitlines())}
    assert found == {name: list(spellings(name)) for name in ("X:1", "chat:latest")}
    assert {"x:1", "library/x:1"} < set(found["X:1"]) and "chat" in found["chat:latest"]


def test_what_is_not_known_is_zero():
    tags, unused_openai, loaded = listed(endpoint("a", "gpu0", model("x:1")))["x:1"]
    assert (tags["digest"], tags["size"], loaded["size"], loaded["size_vram"]) == ("0" * 64, 0, 0, 0)
