# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Headers find the models that they belong to."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.ask.headers import with_headers
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.errors import PlacementError


def test_headers_are_joined_by_name():
    joined = with_headers(
        [{"name": "a", "model": None}, {"name": "b", "model": {"name": "b", "own": 1}}],
        [{"name": "b"}, {"name": "a:latest"}],
    )
    assert joined == [{"name": "a", "model": {"name": "a:latest"}}, {"name": "b", "model": {"name": "b", "own": 1}}]
    with pytest.raises(PlacementError, match="no header of c"):
        with_headers([{"name": "c", "model": None}], [{"name": "a"}])


def test_the_header_of_the_host_counts_and_knows_what_the_registry_has():
    entries = [{"name": "a", "model": None}, {"name": "b", "model": None}]
    offered = [{"name": name, "source": "registry", "digest": "sha256:new"} for name in "ab"]
    held = {"name": "a:latest", "source": "store", "digest": "sha256:old"}
    joined = with_headers(entries, offered + [held, held])
    assert joined[0]["model"] == dict(held, registry_digest="sha256:new")
    assert joined[1]["model"] == offered[1]
