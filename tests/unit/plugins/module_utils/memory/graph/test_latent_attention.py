# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Multi-head latent attention of a block."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.graph.latent_attention import latent_attention
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load

from tests.unit.plugins.module_utils.memory.graph.builders import builder, operations


def test_one_row_is_stored_for_all_heads():
    b = builder("deepseek-r1", Load(4096))
    made = latent_attention(b, b.graph.given((b.width, b.tokens)), b.kinds[0], 0)
    assert operations(b).count("set_rows") == 1 and made.shape[:2] == (b.width, b.tokens)
