# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What an answer of /api/show says of the files of a model."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf import show

PATH = "/srv/my models/blobs/sha256-"
HEX = "b" * 64


def files(*lines):
    return show.files_with_headers({"modelfile": "\n".join(lines)})


def test_the_first_lines_name_the_files():
    lines = [
        "# Modelfile",
        "# ADAPTER /x",
        "",
        "FROM " + PATH + "a" * 64,
        "ADAPTER " + PATH + HEX,
        "DRAFT " + PATH + HEX,
    ]
    assert files(*lines, "FROM /projector", "TEMPLATE x", "ADAPTER /no") == [
        (show.media.ADAPTER, PATH + HEX, "sha256:" + HEX),
        (show.media.DRAFT, PATH + HEX, "sha256:" + HEX),
    ]


@pytest.mark.parametrize("path", ["/etc/passwd", "a.gguf", PATH + HEX + "/x", PATH + HEX[1:], "/blobs/sha256-" + HEX])
def test_a_path_that_is_not_that_of_a_blob_has_no_digest(path):
    expected = "sha256:" + HEX if path.startswith("/blobs/") else None
    assert files("FROM x", "ADAPTER " + path) == [(show.media.ADAPTER, path, expected)]


@pytest.mark.parametrize("answer", [{}, {"modelfile": None}, {"modelfile": ""}, {"modelfile": 5}])
def test_an_answer_without_a_modelfile_names_none(answer):
    assert show.files_with_headers(answer) == []


def test_a_server_cannot_name_files_without_end():
    assert len(files(*["ADAPTER " + PATH + HEX] * 9999)) == show.MAX_FILES


def test_an_array_that_was_left_out_is_asked_for():
    assert show.needs_arrays({"model_info": {"llama.attention.head_count_kv": None}})
    assert not show.needs_arrays({"model_info": {"tokenizer.ggml.tokens": None, "llama.block_count": 2}})
    assert not show.needs_arrays({})
