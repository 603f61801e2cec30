# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Entries of models."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.model_entries import find, has_digest


def test_an_entry_is_found_by_its_name():
    entries = [{"name": "not a name"}, {}, {"model": "Tiny:latest"}]
    assert find(entries, "registry.ollama.ai/library/tiny") == {"model": "Tiny:latest"}
    assert find(entries, "other") is None and find(None, "tiny") is None


def test_a_pin_is_compared_with_or_without_its_prefix():
    digest = "a" * 64
    assert has_digest({"digest": digest}, "sha256:" + digest) and has_digest({"digest": None}, "")
    assert not has_digest({"digest": "b" * 64}, digest) and not has_digest({"digest": None}, digest)
    assert not has_digest(None, "")
