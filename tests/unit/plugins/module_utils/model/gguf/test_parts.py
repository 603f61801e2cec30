# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The parts of a split model. Files of parts that do not belong together are in test_source.py."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.header import HeaderError
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.parts import merge

from tests.unit.plugins.module_utils.model.gguf.test_facts import TENSORS, header


def test_parts_of_a_split_model_add_up():
    merged = merge([header(TENSORS[:4], split__count=2), header(TENSORS[4:])])
    assert merged.tensors == TENSORS and merged.keys["split.count"] == 2
    assert merged.size_bytes == 200


def test_a_first_part_without_tensors_is_a_part():
    """gguf-split --no-tensor-first-split writes one."""
    assert merge([header([], split__count=2), header(TENSORS)]).tensors == TENSORS


def test_no_parts():
    with pytest.raises(HeaderError, match="has no parts"):
        merge([])
