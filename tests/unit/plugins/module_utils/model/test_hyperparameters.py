# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a header leaves out."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.model import hyperparameters


def test_what_a_header_leaves_out_is_filled_in_as_the_engine_does():
    model = hyperparameters.complete({"block_count": 2, "embedding_length": 64, "head_count": 4, "size_bytes": 7})
    assert model.head_count_kv == [4, 4] and model.key_length == 16 and model.file_bytes == 7


def test_a_number_counts_for_every_block_and_a_short_list_goes_on():
    assert hyperparameters.per_layer(None, 2) is None and hyperparameters.per_layer([], 2) is None
    assert hyperparameters.per_layer(3, 2) == [3, 3]
    assert hyperparameters.per_layer([1, 2], 4) == [1, 2, 2, 2] and hyperparameters.per_layer([1, 2, 3], 2) == [1, 2]


def test_a_draft_model_is_completed_too():
    draft = {"block_count": 1, "embedding_length": 64, "head_count": 4, "size_bytes": 3}
    model = hyperparameters.complete({"block_count": 2, "draft": draft})
    assert model.draft == hyperparameters.complete(draft) and model.draft.key_length == 16
    assert hyperparameters.complete(model).draft == model.draft
