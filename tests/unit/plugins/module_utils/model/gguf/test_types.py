# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Types of tensors and files, and the bytes of tensors."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.types import (
    BLOCKS,
    FILE_TYPES,
    TENSOR_TYPES,
    tensor_bytes,
)


def test_types_agree_with_the_writer_of_llama_cpp():
    constants = pytest.importorskip("gguf.constants")
    for kind in constants.GGMLQuantizationType:
        if kind.name == "Q8_1":
            continue  # gguf has the size of the time when its two factors had 32 bits; no file stores this type
        assert TENSOR_TYPES[kind.value] == (kind.name,) + constants.GGML_QUANT_SIZES[kind], kind


def test_file_types_are_those_of_llama_cpp():
    constants = pytest.importorskip("gguf.constants")
    for kind in constants.LlamaFileType:
        if kind.name != "GUESSED":
            name = kind.name.replace("ALL_", "").replace("MOSTLY_", "").replace("MXFP4_MOE", "MXFP4")
            assert FILE_TYPES[kind.value] == name, kind


def test_the_newest_types_are_known():
    # Q2_0 is younger than the package; its block: two bytes of scale and 64 values of two bits (ggml-common.h)
    assert [TENSOR_TYPES[number] for number in (34, 35, 39, 40, 41, 42)] == [
        ("TQ1_0", 256, 54),
        ("TQ2_0", 256, 66),
        ("MXFP4", 32, 17),
        ("NVFP4", 64, 36),
        ("Q1_0", 128, 18),
        ("Q2_0", 64, 2 + 64 * 2 // 8),
    ]


def test_bytes_are_whole_blocks_a_row():
    assert tensor_bytes([256, 2, 3], "Q6_K") == 210 * 6
    assert tensor_bytes([40, 2], "Q8_0") == 34 * 2 * 2
    assert tensor_bytes([], "F32") == 4
    assert tensor_bytes([4], "no such type") is None
    assert BLOCKS["MXFP4"] == (32, 17)
