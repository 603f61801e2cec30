# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Entries of models."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.model_entries import (
    find,
    find_loaded,
    has_digest,
    pulled_digest,
)


def test_an_entry_is_found_by_its_name():
    entries = [{"name": "not a name"}, {}, {"model": "Tiny:latest"}]
    assert find(entries, "registry.ollama.ai/library/tiny") == {"model": "Tiny:latest"}
    assert find(entries, "other") is None and find(None, "tiny") is None


def test_a_pin_is_compared_with_or_without_its_prefix():
    digest = "a" * 64
    assert has_digest({"digest": digest}, "sha256:" + digest) and has_digest({"digest": None}, "")
    assert not has_digest({"digest": "b" * 64}, digest) and not has_digest({"digest": None}, digest)
    assert not has_digest(None, "")


def test_what_was_pulled_under_a_name_counts_for_a_pin():
    entry = {"digest": "a" * 64, "pulled_digest": "sha256:" + "b" * 64}
    assert has_digest(entry, "b" * 64) and has_digest(entry, "") and not has_digest(entry, "a" * 64)
    assert pulled_digest(entry) == "sha256:" + "b" * 64 and pulled_digest({"digest": "x"}) is None
    # What was pulled is not complete any more.
    assert not has_digest(dict(entry, pulled_digest=None), "")


def test_a_loaded_model_is_found_under_any_of_its_names():
    loaded = {"name": "tiny:latest", "digest": "a" * 64}
    server = {"models": [{"name": "tiny:x", "digest": "a" * 64}], "loaded": [loaded]}
    assert find_loaded(server, "tiny:x") == find_loaded(server, "tiny") == loaded
    # Under an alias, which names another model by now.
    assert find_loaded(dict(server, loaded=[dict(loaded, name="chat:latest")]), "tiny:x")["name"] == "chat:latest"
    assert find_loaded(dict(server, loaded=[dict(loaded, digest="b" * 64)]), "tiny:x") is None
    assert find_loaded(dict(server, models=[]), "tiny:x") is None
    assert find_loaded(dict(server, loaded=[{"name": "tiny:latest"}]), "tiny:x") is None
