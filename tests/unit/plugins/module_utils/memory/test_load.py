# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The settings of a load and what follows from them."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load, pad


def test_cells_are_padded():
    assert [pad(cells) for cells in (1, 256, 257)] == [256, 256, 512]


def test_slots_have_a_stream_each_or_share_one():
    apart, shared = Load(300, parallel=3), Load(300, parallel=3, unified=True)
    assert apart.total_context == shared.total_context == 900
    assert (apart.streams, apart.cells) == (3, 512)
    assert (shared.streams, shared.cells) == (1, 1024)


def test_a_batch_is_never_longer_than_the_context():
    assert Load(4096, ubatch=512).batch == 512
    assert Load(300, ubatch=2048).batch == 512
    assert Load(300, parallel=3, ubatch=2048).batch == 3 * 512
    assert Load(300, parallel=3, ubatch=2048, unified=True).batch == 1024


def test_v_has_the_type_of_k_unless_it_has_its_own():
    assert Load(4096, cache_type="q8_0").value_type == "q8_0"
    assert Load(4096, cache_type="q8_0", cache_type_v="f16").value_type == "f16"
